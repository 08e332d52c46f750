"""A run with a budget measures itself once, ends in time, and is from then on a run like any other."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch.callbacks import Callback

from crrn.training.budget import StageTimes
from tests.integration.conftest import Outcome, Zygote, start, tiny, with_pairs
from tests.integration.test_devices import TWO
from tests.integration.test_resume import KILLED, assert_equal

pytestmark = pytest.mark.slow

Train = Callable[..., Outcome]


class SaysLengths(Callback):
    """Prints the lengths that each process trains."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        samples = trainer.datamodule.batches.samples_per_epoch  # type: ignore[attr-defined]
        print(f"rank {trainer.global_rank}: {trainer.max_epochs} epochs of {samples} samples", flush=True)


def settings(photos: Path, name: str, *more: str) -> list[str]:
    """Both stages, with averages, accumulated gradients, pairs and two sizes."""
    given = [setting for setting in tiny(photos, *with_pairs(photos)) if "samples_per_epoch" not in setting]
    return [*given, "trainer.accumulate_grad_batches=2", "ema_decay=0.9", "resume=auto", f"name={name}", *more]


def record(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "run.json").read_text())
    return content


def last_step(run: Path, stage: str) -> int:
    with (run / stage / "metrics.csv").open(newline="") as file:
        return int(list(csv.DictReader(file))[-1]["step"])


def assert_lengths(run: Path, *stages: str) -> dict[str, int]:
    """The run has the lengths of its record; gives these."""
    lengths: dict[str, int] = record(run)["budget"]["settings"]
    config = record(run)["config"]
    samples = lengths["data.batches.samples_per_epoch"]
    assert samples == config["data"]["batches"]["samples_per_epoch"] and samples % 4 == 0
    for stage in stages or ("gin", "joint"):
        epochs = lengths[f"stages.{stage}.epochs"]
        assert epochs == config["stages"][stage]["epochs"]
        assert last_step(run, stage) == epochs * samples // 4
    return lengths


@pytest.fixture(scope="module")
def seconds(zygote: Zygote, photos: Path) -> int:
    """A budget in which this machine, busy or not, trains more than it measures."""
    status, _ = zygote(*settings(photos, "short", "budget=1s"))
    needed = needed_seconds(zygote.log.read_text())
    assert status == 1 and len(needed) == 1, zygote.log.read_text()
    return max(15, 3 * needed[0])


@pytest.fixture(scope="module")
def timed(zygote: Zygote, photos: Path, seconds: int) -> tuple[Path, int]:
    """An uninterrupted run, and its number of events."""
    status, events = zygote(*settings(photos, "timed", f"budget={seconds}s"))
    assert status == 0, zygote.log.read_text()
    return zygote.folder / "runs/timed", events


def test_it_ends_in_time(timed: tuple[Path, int], seconds: int) -> None:
    run, _ = timed
    lengths = assert_lengths(run)
    # By the times that it measured: what else the machine does changes its speed from one moment to the next.
    measured = {name: StageTimes(**times) for name, times in record(run)["budget"]["measured"].items()}
    batches = lengths["data.batches.samples_per_epoch"] // 4
    planned = sum(
        of.rest + lengths[f"stages.{name}.epochs"] * (of.validation + batches * of.batch)
        for name, of in measured.items()
    )
    assert 0.1 * seconds < planned < 0.95 * seconds
    total = lengths["stages.gin.epochs"] + lengths["stages.joint.epochs"]
    assert 4 <= total <= 120 and abs(lengths["stages.gin.epochs"] - total / 4) <= 1
    assert set(record(run)["budget"]["measured"]) == {"gin", "joint"}
    assert not (run / ".measuring").exists()


def test_a_killed_run_keeps_its_lengths_and_equals_one_with_these_lengths(
    zygote: Zygote, photos: Path, timed: tuple[Path, int], seconds: int
) -> None:
    given = settings(photos, "stopped", f"budget={seconds}s", "logging.checkpoint_every_n_steps=20")
    run = zygote.folder / "runs/stopped"
    # While it measures, after that, and once more.
    for event in (40, timed[1] // 3, 30):
        status, _ = zygote(*given, event=event)
        assert status == KILLED, zygote.log.read_text()
        assert (run / "gin/metrics.csv").exists() == ("budget" in record(run)) == (event != 40)
    before = record(run)["budget"]
    measured = zygote.log.read_text().count("Measured on this machine")
    status, _ = zygote(*given)
    assert status == 0, zygote.log.read_text()
    assert record(run)["budget"] == before
    assert zygote.log.read_text().count("Measured on this machine") == measured
    lengths = assert_lengths(run)
    by_hand = [f"{name}={value}" for name, value in lengths.items()]
    status, _ = zygote(*settings(photos, "given", "logging.checkpoint_every_n_steps=20", *by_hand))
    assert status == 0, zygote.log.read_text()
    assert_equal(run, zygote.folder / "runs/given")


def test_two_processes_agree(photos: Path, tmp_path: Path) -> None:
    given = settings(photos, "two", "stages=joint", "logging.panel_images=0", *TWO)
    status, out = whole(tmp_path, *given, "budget=1s")
    needed = needed_seconds(out)
    assert status == 1 and len(needed) == 2 and needed[0] == needed[1], out
    says = "+callbacks.lengths={_target_: tests.integration.test_budget.SaysLengths}"
    status, out = whole(tmp_path, *given, f"budget={math.ceil(1.5 * needed[0])}s", says)
    assert status == 0 and "Warning" not in out, out
    lengths = assert_lengths(tmp_path / "runs/two", "joint")
    epochs, samples = lengths["stages.joint.epochs"], lengths["data.batches.samples_per_epoch"]
    for rank in range(2):
        assert out.count(f"rank {rank}: {epochs} epochs of {samples} samples") == 1, out


def needed_seconds(out: str) -> list[int]:
    """The times that too short a budget was said to need."""
    return [int(needed) for needed in re.findall(r"give budget=(\d+)s or more", out)]


def whole(folder: Path, *overrides: str) -> tuple[int, str]:
    """The status of a command and all that it printed."""
    process = start(folder, *overrides)
    out, _ = process.communicate(timeout=1800)
    return process.returncode, out


def test_a_dry_run_shows_what_a_budget_gives(train: Train, photos: Path, tmp_path: Path) -> None:
    outcome = train(*settings(photos, "shown", "budget=1min", "dry_run=true"))
    assert outcome.status == 0, outcome.err
    said = " ".join(outcome.out.split())
    found = re.search(
        r"without budget: stages.gin.epochs=(\d+) stages.joint.epochs=(\d+) data.batches.samples_per_epoch=(\d+)", said
    )
    assert found, said
    gin, joint, samples = map(int, found.groups())
    assert f"{samples} samples an epoch in {samples // 2} batches of 2" in said
    for stage, epochs in (("gin", gin), ("joint", joint)):
        (row,) = (line for line in outcome.out.splitlines() if line.startswith(f"│ {stage}"))
        assert [cell.strip() for cell in row.strip("│ ").split("│")][-2:] == [str(epochs), f"{epochs * samples // 4:,}"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["budget=10min", "stages.joint.epochs=3"], "budget and stages.joint.epochs both set the length"),
        (["budget=10"], "budget=10 is not a time"),
        (["budget=10min", "trainer.limit_train_batches=4"], "leave one out"),
        (["budget=1s"], "budget=1s is too short on this machine"),
    ],
)
def test_what_does_not_go_with_a_budget_is_refused(
    train: Train, photos: Path, tmp_path: Path, given: list[str], words: str
) -> None:
    outcome = train(*settings(photos, "refused", *given))
    assert outcome.status == 1 and words in outcome.err
    assert not list(tmp_path.rglob("metrics.csv")) and not list(tmp_path.rglob(".measuring"))


def test_a_run_that_began_without_a_budget_goes_on_without(train: Train, photos: Path) -> None:
    short = ["stages=joint", "stages.joint.epochs=1", "data.batches.samples_per_epoch=8"]
    assert train(*settings(photos, "plain", *short)).status == 0
    outcome = train(*settings(photos, "plain", "stages=joint", "budget=1min"))
    assert outcome.status == 1 and "was begun without a budget: leave budget out" in outcome.err


def test_shares_are_of_all_stages_or_of_none(train: Train, photos: Path) -> None:
    outcome = train(*settings(photos, "shares", "budget=1min", "stages.gin.share=null"))
    assert outcome.status == 1 and "stages.gin.share is not given" in outcome.err
