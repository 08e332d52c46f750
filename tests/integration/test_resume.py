"""A run that is killed goes on as if nothing had been: same weights, same curves, bit for bit."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.conftest import Zygote, tiny, with_pairs

TIMINGS = "speed/"
KILLED = -9


def settings(photos: Path, name: str) -> list[str]:
    """Both stages with everything that has a state: momenta, a moving average, a schedule, accumulated gradients, and
    checkpoints within epochs; of real pairs and mixtures."""
    return tiny(
        photos,
        *with_pairs(photos),
        "stages.gin.epochs=1",
        "stages.joint.epochs=2",
        "stages.joint.schedule.milestones=[0.5]",
        "data.batches.samples_per_epoch=10",
        "trainer.accumulate_grad_batches=2",
        "logging.checkpoint_every_n_steps=1",
        "ema_decay=0.9",
        "resume=auto",
        f"name={name}",
    )


def curves(run: Path) -> dict[str, list[dict[str, str]]]:
    """All rows of both stages but their timings, as text."""
    found = {}
    for stage in ("gin", "joint"):
        with (run / stage / "metrics.csv").open(newline="") as file:
            found[stage] = [{k: v for k, v in row.items() if not k.startswith(TIMINGS)} for row in csv.DictReader(file)]
    return found


def assert_equal(run: Path, whole: Path) -> None:
    """Same curves, same summary, same weights of every kind, no litter."""
    assert curves(run) == curves(whole)
    assert (run / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()
    for name in ("weights.safetensors", "gin/weights.safetensors", "joint/weights.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("gin/last.ckpt", "joint/last.ckpt", "joint/best.ckpt"):
        assert equal(checkpoint(run / name), checkpoint(whole / name)), name
    assert not list(run.rglob("*.tmp"))


def checkpoint(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    # How many batches Lightning says it began, which a stop in the middle of one changes; not what they did.
    del content["loops"]
    return content


def equal(one: Any, other: Any) -> bool:
    """Bit for bit, all the way down."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.fixture(scope="module")
def whole(zygote: Zygote, photos: Path) -> tuple[Path, int]:
    """An uninterrupted run, and its number of events."""
    status, events = zygote(*settings(photos, "whole"))
    assert status == 0, zygote.log.read_text()
    return zygote.folder / "runs/whole", events


@pytest.mark.slow
def test_killed_at_random_moments(zygote: Zygote, photos: Path, whole: tuple[Path, int]) -> None:
    run, _ = whole
    rng = random.Random(2)
    kills = 0
    while True:
        moment: dict[str, Any] = {}
        if kills < 12:
            # Counted by what the process does to the run's files, not by time, which differs between machines.
            moment = {"event": rng.randrange(8, 32)}
        status, _ = zygote(*settings(photos, "killed"), **moment)
        if status != KILLED:
            break
        kills += 1
    assert status == 0, zygote.log.read_text()
    assert kills >= 8
    assert_equal(zygote.folder / "runs/killed", run)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
@pytest.mark.slow
def test_a_torn_checkpoint_gives_way_to_the_one_before_it(
    zygote: Zygote, photos: Path, whole: tuple[Path, int], damage: str
) -> None:
    run, events = whole
    name = f"torn-{damage}"
    status, _ = zygote(*settings(photos, name), event=events * 3 // 4)
    assert status == KILLED
    last = zygote.folder / "runs" / name / "joint" / "last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 255
    last.write_bytes(content)
    # and killed once more before a whole one takes its place
    status, _ = zygote(*settings(photos, name), event=12)
    assert status == KILLED and (last.with_name("previous.ckpt")).exists()
    status, _ = zygote(*settings(photos, name))
    assert status == 0
    assert f"{name}/joint/last.ckpt is torn" in zygote.log.read_text().replace("\n", "")
    assert_equal(last.parents[1], run)
