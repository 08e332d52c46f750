"""CEILNet's three phases by the training command, and its weights in the evaluation."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import crrn
from crrn.nets import ImageNet, record_of
from tests.integration.conftest import Outcome, stopped_at, tiny

Train = Callable[..., Outcome]

STAGES = ("edges", "image", "joint")


def settings(photos: Path, *more: str) -> list[str]:
    """The experiment at width 1/16, an epoch a phase."""
    short = [f"stages.{stage}.epochs=1" for stage in STAGES]
    overrides = [override for override in tiny(photos) if not override.startswith("width")]
    return ["experiment=ceilnet", *overrides, "width=0.0625", "ema_decay=0.9", *short, *more]


def curve(path: Path) -> list[dict[str, str]]:
    """The rows of a stage's curves but their timings."""
    with (path / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith("speed/")} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_three_phases_resumed_between_and_within_them(train: Train, photos: Path, tmp_path: Path) -> None:
    both = settings(photos, "logging.checkpoint_every_n_steps=1")
    outcome = train(*both, "name=whole")
    assert outcome.status == 0, outcome.err
    run = tmp_path / "runs/whole"

    terms = {stage: {key for key in curve(run / stage)[0] if key.startswith("train/")} for stage in STAGES}
    common = {"train/loss", "train/learning_rate"}
    image = {"train/background_mse", "train/background_derivative_l1"}
    edges = {"train/gradient_mse"}
    assert terms == {"edges": common | edges, "image": common | image, "joint": common | edges | image}
    joint = curve(run / "joint")[-1]
    expected = 0.2 * float(joint["train/background_mse"]) + 0.4 * float(joint["train/background_derivative_l1"])
    assert float(joint["train/loss"]) == pytest.approx(expected + 0.4 * float(joint["train/gradient_mse"]), rel=1e-5)
    assert "val/identity_gradient_psnr" in joint and "val/background_ssim" in joint

    def columns(stage: str) -> int:
        with Image.open(next((run / stage / "panels").glob("*.png"))) as panel:
            return panel.width // (48 * 5 + 4)

    assert [columns(stage) for stage in STAGES] == [3, 5, 7]  # I, and estimated and true of each layer
    assert len(list((run / "wandb").glob("offline-run-*"))) == 1

    # each phase trains its network and no other
    states = {stage: load_file(run / stage / "weights.safetensors") for stage in STAGES}
    whole = load_file(run / "weights.safetensors")
    assert whole.keys() == states["joint"].keys()
    assert all(torch.equal(value, states["joint"][name]) for name, value in whole.items())
    assert whole.keys() == {f"edge_net.{k}" for k in states["edges"]} | {f"image_net.{k}" for k in states["image"]}

    # stopped between two phases, and within the last
    for stage, step in (("image", 0), ("joint", 1)):
        with stopped_at(step, stage):
            assert train(*both, "name=stopped", "resume=auto", "logger=none").status != 0
    assert train(*both, "name=stopped", "resume=auto", "logger=none").status == 0
    stopped = tmp_path / "runs/stopped"
    for name in ("weights.safetensors", *(f"{stage}/weights.safetensors" for stage in STAGES), "summary.json"):
        assert (stopped / name).read_bytes() == (run / name).read_bytes(), name
    assert [curve(stopped / stage) for stage in STAGES] == [curve(run / stage) for stage in STAGES]


@pytest.mark.slow
def test_a_stage_alone_and_the_weights_as_a_remover(
    train: Train, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from crrn.cli.eval import main

    outcome = train(*settings(photos, "stages=ceilnet_image", "name=fy17", "mixing=ceilnet", "logger=none"))
    assert outcome.status == 0, outcome.err
    run = tmp_path / "runs/fy17"
    assert [stage for stage in STAGES if (run / stage).exists()] == ["image"]
    network = crrn.load(run / "weights.safetensors")
    assert record_of(network) == {"_target_": "crrn.nets.CEILNet", "width": 0.0625}
    assert isinstance(crrn.load(run / "image/best.ckpt"), ImageNet)

    for role in ("blended", "transmission_layer"):
        (tmp_path / "bench" / role).mkdir(parents=True)
        for n, path in enumerate(sorted((photos / "background").iterdir())[:2]):
            with Image.open(path) as photo:
                photo.resize((48, 32)).save(tmp_path / "bench" / role / f"{n}.png")
    arguments = ["crrn-eval", "removers=[runs/fy17]", "benchmark=[folder]", "benchmark.folder.root=bench", "cases=0"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as exit_:
        main()
    out, err = capfd.readouterr()
    assert exit_.value.code == 0, err
    assert "fy17" in out and "identity" in out
    facts = json.loads(next((tmp_path / "evaluations").rglob("summary.json")).read_text())
    assert "fy17" in json.dumps(facts)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["stages.order=[gin]"], ["'gin'", "CEILNet", "[edges,image,joint]"]),
        (["stages.order=[edge]"], ["stages.order.edge", "edges"]),
        (["+stages.edgs.epochs=1"], ["stages.edgs", "edges"]),
        (["net=crrn", "stages.order=[edges]"], ["'edges'", "CRRN", "[gin,joint]"]),
        (["init={gin: x.ckpt}"], ["gin", "edge_net, image_net"]),
    ],
)
def test_wrong_stages_are_answered_by_one_sentence(
    train: Train, photos: Path, overrides: list[str], words: list[str]
) -> None:
    outcome = train(*settings(photos, *overrides, "logger=none"))
    assert outcome.status == 1 and "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
