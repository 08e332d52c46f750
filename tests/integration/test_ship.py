"""From a run to a network that ships: weights, description, card, figures, and the commands that take its name."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from crrn import catalogue
from crrn.nets import Prediction, load_network, network_prediction, save_network
from tests.conftest import write_photo
from tests.integration.conftest import Command
from tests.networks import lively


@pytest.fixture
def call(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command of crrn in this process, with tmp_path/shipped as the folder of shipped networks."""
    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path / "shipped")
    return command


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A run that noted where it came from."""
    folder = tmp_path / "runs/mine"
    save_network(lively("crrn"), folder / "weights.safetensors")
    session = {
        "started": "2026-01-02T03:04:05+00:00",
        "command": ["train.py", "experiment=photo", "data.background=/home/me/photos/sea", "name=mine"],
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "machine": "Linux x86_64, 2 cores",
        "versions": {"crrn": "0.1.0", "torch": "2.15.0"},
    }
    record = {"config": {"seed": 7, "net": {}, "stages": {"order": []}}, "sessions": [session]}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def pairs(root: Path) -> None:
    for number in range(3):
        for folder, seed in (("blended", number), ("transmission_layer", number)):
            write_photo(root / folder / f"{number}.png", seed, 48, 64)


def test_a_run_ships(call: Command, checkpoint: Path, tmp_path: Path) -> None:
    settings = ("precision=int8", "working_size=64", "strength=80", "default=true", "time=7 hours (2 cores)")
    outcome = call("ship", f"checkpoint={checkpoint}", "name=first", "about=It's small, and fast.", *settings)
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "shipped"
    assert {path.name for path in folder.iterdir()} == {"first.safetensors", "first.json", "first.md"}
    assert network_prediction(folder / "first.safetensors") == Prediction(64, 80)
    weight = load_network(folder / "first.safetensors").iin.head[1].weight
    trained = load_network(checkpoint / "weights.safetensors").iin.head[1].weight
    assert 0 < (weight - trained).abs().max() <= trained.abs().max() / 127
    card = (folder / "first.md").read_text()
    for words in (
        "# first",
        "It's small, and fast.",
        "For research use",
        "working size 64, strength 80",
        "- Seed: 7",
        "- Commit of crrn: `0123456789abcdef`",
        "- Command: `train.py experiment=photo data.background=sea name=mine`",
        "- Machine: Linux x86_64, 2 cores",
        "- Time: 7 hours (2 cores)",
        "None are recorded yet.",
    ):
        assert words in card, words
    assert "/home/me" not in card

    # a second one takes the default over
    outcome = call("ship", f"checkpoint={checkpoint}", "name=second", "about=Other", "default=true")
    assert outcome.status == 0, outcome.err
    assert [(one.name, one.default) for one in catalogue.models()[:2]] == [("second", True), ("first", False)]
    assert json.loads((folder / "second.json").read_text())["precision"] == "float16"


@pytest.mark.slow
def test_figures_are_those_of_the_shipped_file(call: Command, checkpoint: Path, tmp_path: Path) -> None:
    assert call("ship", f"checkpoint={checkpoint}", "name=first", "about=Small", "default=true").status == 0
    pairs(tmp_path / "pairs")  # nothing to remove: any change is harm
    on = ("benchmark=[folder]", "benchmark.folder.root=pairs", "protocol=[native]", "cases=0", "device=cpu")
    assert call("eval", "removers=[first,yl19]", *on, "name=good").status == 0
    outcome = call("ship", "name=first", "evaluations=[evaluations/good]", "fails=Fails at night.")
    assert outcome.status == 0, outcome.err

    card = ModelCard.load(tmp_path / "shipped/first.md")
    (row,) = (line for line in card.content.splitlines() if line.startswith("| pairs |"))
    assert row.startswith("| pairs | native | native | 3 |") and row.rstrip(" |").endswith("100%")
    assert re.search(r"^\*\*On pairs .*PSNR \(dB\) -\d", card.content, re.MULTILINE)
    assert "Fails at night." in card.content
    results = {result.metric_type: result for result in card.data.eval_results or []}
    assert results["harm_rate"].metric_value == 1 and results["psnr"].dataset_name == "pairs"
    with Image.open(tmp_path / "pairs/blended/0.png") as picture:
        assert picture.size == (64, 48)
    gains = []
    network = load_network(tmp_path / "shipped/first.safetensors")
    for number in range(3):
        with Image.open(tmp_path / f"pairs/blended/{number}.png") as picture:
            photo = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255
        with torch.inference_mode():
            error = network(torch.from_numpy(photo)).background.clamp(0, 1).numpy() - photo
        gains.append(-10 * math.log10(np.square(error).mean()) - 100)  # of equal images: 100 dB
    assert results["gain_psnr"].metric_value == pytest.approx(np.mean(gains), abs=0.01)

    # numbers of other weights, or of other settings, are not this file's
    assert call("eval", "removers=[first]", *on, "name=other", "strength=50").status == 0
    refused = call("ship", "name=first", "evaluations=[evaluations/other]")
    assert refused.status == 1 and "evaluations/other" in refused.err


def test_the_shipped_default_is_used_by_its_name(call: Command, checkpoint: Path, tmp_path: Path) -> None:
    shipping = ("working_size=32", "strength=80", "default=true")
    assert call("ship", f"checkpoint={checkpoint}", "name=first", "about=Small", *shipping).status == 0
    write_photo(tmp_path / "photo.png", 0)
    outcome = call("predict", "input=photo.png", "output=out", "device=cpu")
    assert re.search(r"model: first\b.* 32\b.*strength 80; 1 of 1\b", outcome.err)
    wrong = call("predict", "input=photo.png", "output=out", "remover=frist")
    assert wrong.status == 1
    assert "frist" in wrong.err and "first?" in wrong.err
    exported = call("export", "checkpoint=first", "format=safetensors", "output=exported")
    assert exported.status == 0, exported.err
    assert network_prediction(tmp_path / "exported/model.safetensors") == Prediction(32, 80)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("name=first",), "checkpoint"),
        (("name=first", "checkpoint=runs/mine"), "about="),
        (("name=yl19", "checkpoint=runs/mine", "about=x"), "name=yl19"),
        (("name=a/b", "checkpoint=runs/mine", "about=x"), "name=a/b"),
        (("name=first", "checkpoint=runs/mine", "about=x", "precision=int4"), "precision=int4"),
        (("name=first", "checkpoint=runs/mine", "about=x", "strength=300"), "strength=300"),
        (("name=first", "evaluations=one"), "evaluations=[one]"),
    ],
)
def test_mistakes(call: Command, checkpoint: Path, tmp_path: Path, overrides: tuple[str, ...], said: str) -> None:
    outcome = call("ship", *overrides)
    assert outcome.status == 1 and said in outcome.err
    assert not any((tmp_path / "shipped").iterdir())


def test_too_much_is_refused(call: Command, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crrn.inference import ship

    assert call("ship", "checkpoint=runs/mine", "name=first", "about=Small", "precision=int8").status == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "shipped").iterdir()}
    size = len(before["first.safetensors"])
    monkeypatch.setattr(ship, "LIMIT_MB", 1.5 * size / 1e6)
    for name in ("second", "first"):
        outcome = call("ship", "checkpoint=runs/mine", f"name={name}", "about=Small", "precision=float32")
        assert outcome.status == 1 and "MB" in outcome.err
        assert {path.name: path.read_bytes() for path in (tmp_path / "shipped").iterdir()} == before
