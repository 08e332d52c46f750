"""What counts as a step, and what a validation's numbers belong to."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from crrn.training.stage_training import StageTraining
from tests.integration.conftest import Outcome, tiny

Train = Callable[..., Outcome]

GIN = ("stages=gin", "net=gin", "logging.checkpoint_every_n_steps=1")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_accumulated_batches_are_one_step(
    train: Train, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []
    step = StageTraining.training_step

    def recorded(self: StageTraining, batch, batch_idx: int) -> torch.Tensor:
        loss = step(self, batch, batch_idx)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(StageTraining, "training_step", recorded)
    settings = ("stages.gin.epochs=2", "data.batches.samples_per_epoch=10", "trainer.accumulate_grad_batches=2")
    schedule = ("schedule@stages.gin.schedule=multistep", "stages.gin.schedule.milestones=[0.5]")
    outcome = train(*tiny(photos, *GIN, *settings, *schedule, "name=accumulated", "ema_decay=0.9"))
    assert outcome.status == 0, outcome.err
    found = rows(tmp_path / "runs/accumulated/gin/metrics.csv")
    assert [row["step"] for row in found] == ["1", "2", "3", "4", "5", "6"]
    assert len(losses) == 10
    parts = [losses[0:2], losses[2:4], losses[4:5], losses[5:7], losses[7:9], losses[9:10]]  # an epoch's last is alone
    for row, part in zip(found, parts, strict=True):
        assert float(row["train/loss"]) == pytest.approx(sum(part) / len(part), rel=1e-6)
    # the schedule's milestone is an epoch of three steps, and a row has the rate of the step after it
    assert [float(row["train/learning_rate"]) for row in found] == pytest.approx([1e-4] * 2 + [1e-5] * 4)
    last = torch.load(tmp_path / "runs/accumulated/gin/last.ckpt", weights_only=True)
    assert last["global_step"] == 6 and last["callbacks"]["EMA"]["updates"] == 6


def test_epochs_without_a_validation_have_no_metrics_and_the_last_has_one(
    train: Train, photos: Path, tmp_path: Path
) -> None:
    outcome = train(*tiny(photos, *GIN, "stages.gin.epochs=5", "trainer.check_val_every_n_epoch=3", "name=rare"))
    assert outcome.status == 0, outcome.err
    run = tmp_path / "runs/rare/gin"
    validated = [row for row in rows(run / "metrics.csv") if row["val/gradient_si"]]
    assert [row["step"] for row in validated] == ["9", "15"]
    result = json.loads((run / "result.json").read_text())
    assert result["val/gradient_si"] == float(validated[-1]["val/gradient_si"])
    # written in epoch 5, after epoch 4 without a validation: the numbers of epoch 3 are those of other weights
    previous = torch.load(run / "previous.ckpt", weights_only=True)
    assert previous["global_step"] == 14 and previous["callbacks"]["Checkpoints"]["metrics"] == {}
