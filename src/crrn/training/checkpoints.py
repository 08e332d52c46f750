"""Checkpoints: when they are written, and how each is written completely or not at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger

from crrn.errors import RunError
from crrn.files import write_atomically
from crrn.records import misfit
from crrn.training.background import Background, Reading, background
from crrn.training.curves import CsvCurves, takes_step
from crrn.training.recovery import BEST, LAST, PREVIOUS
from crrn.training.rundir import stage_folder
from crrn.training.stage_training import StageTraining
from crrn.training.validation import is_better

MEASURED = 50
"""Steps after which the time of a step is known: the first ones take longer."""

HANDED_OVER = ".temp.ckpt"
"""Lightning's file in which a process that it spawned or forked hands its weights over; it holds nothing else."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a new file beside the target, syncs it, then renames it. Loads only tensors and plain values.

    An earlier ``last.ckpt`` becomes ``previous.ckpt`` only after the new one is complete. So one of them is always
    complete. Lightning's own writer uses the system's temporary folder. On another disk, that is a copy that a kill can
    leave incomplete.

    Args:
        background: writes a copy of the checkpoint, which is taken at once; None: the caller's thread writes.
    """

    def __init__(self, background: Background | None = None) -> None:
        super().__init__()
        self.background = background

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if self.background is None or Path(path).name == HANDED_OVER:
            write_checkpoint(checkpoint, Path(path))
        else:
            taken = Reading(checkpoint)
            self.background.submit(lambda: write_checkpoint(taken.get(), Path(path)))

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        checkpoint: dict[str, Any] = super().load_checkpoint(path, map_location or "cpu", weights_only=True)  # type: ignore[arg-type]
        if Path(path).name == HANDED_OVER:
            return checkpoint
        shape = {"state_dict": dict, "loops": dict, "optimizer_states": [{"param_groups": [{"lr": float}]}]}
        wrong = misfit(checkpoint, shape) or _no_counts(checkpoint["loops"], "loops")
        if wrong:
            raise ValueError(wrong)
        return checkpoint


def write_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Writes a checkpoint on the host.

    Raises:
        RunError: weights are not finite, or the file cannot be written; what was there before is intact.
    """
    # A step can be finite and the weights after it not: such weights must not take the place of good ones.
    weights = checkpoint.get("current_model_state", checkpoint.get("state_dict", {}))
    broken = [name for name, value in weights.items() if not value.isfinite().all()]
    if broken:
        raise RunError(
            f"After step {checkpoint.get('global_step')} weights are not finite, such as {broken[0]}; no checkpoint is "
            f"written, so that {path.with_name(LAST)} stays good. Lower the learning rate or set "
            "trainer.gradient_clip_val=1, and go on with resume=auto."
        )
    with write_atomically(path, keep=path.with_name(PREVIOUS) if path.name == LAST else None) as file:
        torch.save(checkpoint, file)


def _no_counts(value: Any, place: str) -> str:
    """What is wrong with Lightning's own record of where it stands: how often something was done."""
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        return next(filter(None, (_no_counts(entry, f"{place}.{key}") for key, entry in entries)), "")
    counts = value is None or (isinstance(value, int) and 0 <= value < 2**62)
    return "" if counts else f"{place} is {value!r:.40}, not a count"


class Checkpoints(Checkpoint):
    """Keeps ``last.ckpt``, the one before it as ``previous.ckpt``, and ``best.ckpt`` by the stage's monitored metric.

    They are written at the end of each epoch, after its validation, and within epochs as often as the arguments say. A
    copy is taken at once. It is written beside the training, after the metrics before it. The metrics that a resumed
    run reads are therefore complete up to its checkpoint.

    Args:
        every_n_steps: optimizer steps between checkpoints within an epoch; None: as many as take ``every_n_minutes``.
        every_n_minutes: minutes between them; None: epoch ends only. The first process measures a step and decides for
            all, at the start of an epoch and after the first `MEASURED` steps.
    """

    folder: Path

    def __init__(self, every_n_steps: int | None = None, every_n_minutes: float | None = None) -> None:
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self.best: float | None = None
        self.metrics: dict[str, float] = {}
        self._validated = -1
        self._began = (0, 0.0)
        self._interval = every_n_steps

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.folder = stage_folder(trainer, pl_module)

    @property
    def state_key(self) -> str:
        return type(self).__name__

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        wrong = misfit(state_dict, {"best": (float, None), "metrics": {str: float}})
        if wrong:
            raise ValueError(wrong)
        self.best, self.metrics = state_dict["best"], state_dict["metrics"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not (self.folder / BEST).exists():
            self.best = None  # the run went back to before it
        self._began = trainer.global_step, time.perf_counter()
        validate_at_the_end(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        validate_at_the_end(trainer)
        self._decide(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not takes_step(trainer, batch_idx):
            return
        if trainer.global_step == self._began[0] + MEASURED:
            self._decide(trainer)
        due = self._interval and trainer.global_step % self._interval == 0
        if due and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validated = trainer.global_step

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageTraining)
        # Metrics of other weights than these say nothing about them.
        fresh = self._validated == trainer.global_step
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()} if fresh else {}
        score = self.metrics.get(pl_module.monitor)
        improved = score is not None and is_better(pl_module.monitor, score, self.best)
        self.best = score if improved else self.best
        if not improved:
            self._save(trainer, pl_module)
            return
        # Before last.ckpt: a run killed in between repeats the epoch's end, and the best is never left behind.
        self._save(trainer, pl_module, BEST)
        if trainer.is_global_zero:
            background(trainer)(partial(copy_to_last, self.folder / BEST))

    def _decide(self, trainer: L.Trainer) -> None:
        """Turns minutes into steps, alike on all devices."""
        step, began = self._began
        done = trainer.global_step - step
        if self.every_n_steps is None and self.every_n_minutes and done >= MEASURED:
            seconds = (time.perf_counter() - began) / done
            self._interval = trainer.strategy.broadcast(max(1, round(60 * self.every_n_minutes / seconds)))

    def _save(self, trainer: L.Trainer, module: L.LightningModule, name: str = LAST) -> None:
        if isinstance(module, StageTraining):
            module.guard.read(module)
        background(trainer)(partial(flush, trainer.loggers))
        # With the optimizer's state, which is plain values too: the file still loads with weights_only=True.
        trainer.save_checkpoint(self.folder / name, weights_only=False)


def copy_to_last(checkpoint: Path) -> None:
    """Makes a copy of a checkpoint the last one."""
    last = checkpoint.with_name(LAST)
    with checkpoint.open("rb") as source, write_atomically(last, keep=last.with_name(PREVIOUS)) as file:
        shutil.copyfileobj(source, file)


def flush(loggers: Iterable[Logger]) -> None:
    """Writes what loggers hold, the curves to the disk."""
    for logger in loggers:
        logger.save()
        if isinstance(logger, CsvCurves):
            logger.sync()


def validate_at_the_end(trainer: L.Trainer) -> None:
    """Makes the last epoch end with a validation, whatever ``check_val_every_n_epoch`` is."""
    if trainer.current_epoch + 1 == trainer.max_epochs and trainer.check_val_every_n_epoch is not None:
        trainer.check_val_every_n_epoch = 1
