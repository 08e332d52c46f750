"""The networks that really ship: whole, listed, carried by wheel and sdist, and better than doing nothing."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from PIL import Image, ImageOps
from torch import nn

from crrn.catalogue import FOLDER, shipped, verified
from crrn.data.package_photos import demo_photos
from crrn.data.photos import read_image
from crrn.image.picture import to_tensor
from crrn.inference.predictor import Predictor
from crrn.inference.ship import LIMIT_MB
from crrn.mixing import LinearMixing
from crrn.nets import Prediction, network_prediction
from crrn.removers import load_remover

ROOT = Path(__file__).parents[3]


def linear_gain(remover: nn.Module) -> float:
    """Mean gain in PSNR, in dB, of the whole estimate (strength 100) on `LinearMixing`'s mixtures of the held-out demo
    photos, each with each."""
    source = demo_photos()
    photos = [Image.fromarray(read_image(path)) for path in source.files if path in source.held_out]
    images = [to_tensor(np.asarray(ImageOps.fit(photo, (288, 224)))) for photo in photos]
    mixing, rng, predictor = LinearMixing(), np.random.default_rng(0), Predictor(remover, strength=100)
    gains = []
    for background, reflection in permutations(images, 2):
        parameters = {name: torch.as_tensor(np.array([value])) for name, value in mixing.draw(rng).items()}
        mixture, truth, *_ = mixing(background, reflection, parameters)
        estimate = predictor(mixture).background
        assert estimate is not None
        errors = [(image - truth).square().mean().log10() for image in (mixture, estimate)]
        gains.append(10 * float(errors[0] - errors[1]))
    assert len(gains) == 30
    return float(np.mean(gains))


def test_the_identity_gains_nothing() -> None:
    assert linear_gain(load_remover("identity")) == pytest.approx(0, abs=1e-4)


def test_what_ships_is_whole_and_removes_reflections() -> None:
    """Nothing to do until a network ships; then each of them, and nothing beside them."""
    networks = shipped()
    assert {path.name for path in FOLDER.glob("*.safetensors")} == {one.weights.name for one in networks.values()}
    assert sum(one.weights.stat().st_size for one in networks.values()) <= LIMIT_MB * 1e6
    assert sum(one.default for one in networks.values()) == bool(networks)
    for network in networks.values():
        assert (FOLDER / f"{network.name}.md").read_text(encoding="utf-8").count(network.sha256) == 1
        assert isinstance(network_prediction(verified(network)), Prediction)
        assert linear_gain(load_remover(network.name)) >= 1, network.name


@pytest.mark.parametrize("builder", [WheelBuilder, SdistBuilder])
def test_wheel_and_sdist_carry_the_folder(builder: type[WheelBuilder] | type[SdistBuilder]) -> None:
    """Every file that is there, and weights that will be: none is ignored."""
    made = builder(str(ROOT))
    carried = {Path(file.path) for file in made.recurse_included_files()}
    assert carried >= {path for path in FOLDER.iterdir() if path.is_file()}
    for name in ("x.safetensors", "x.json", "x.md"):
        assert made.config.include_path(f"src/crrn/weights/{name}"), name
