"""Checkpoints: when they are written, that they are never torn, and which one a stopped run goes on from."""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from crrn.errors import CheckpointError
from crrn.files import write_atomically
from crrn.training.modules import StageTraining

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, then renames; loads tensors and plain values only.

    Lightning's own writer goes through the system's temporary folder, which on another disk is a copy and can be torn.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        with write_atomically(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        checkpoint: dict[str, Any] = super().load_checkpoint(path, map_location or "cpu", weights_only=True)  # type: ignore[arg-type]
        return checkpoint


class Checkpoints(Checkpoint):
    """Keeps ``last.ckpt``, the one before it as ``previous.ckpt``, and ``best.ckpt`` by the stage's monitored metric.

    Written every ``every_n_steps`` optimizer steps and at the end of each epoch, after its validation. The curves are
    flushed first, so that what a resumed run reads back is complete up to its checkpoint.

    Args:
        folder: the stage's folder.
        every_n_steps: optimizer steps between checkpoints within an epoch; 0 for epoch ends only.
    """

    def __init__(self, folder: Path | str, every_n_steps: int = 200) -> None:
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.best: float | None = None
        self.metrics: dict[str, float] = {}

    @property
    def state_key(self) -> str:
        return type(self).__name__

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.metrics = state_dict["best"], state_dict["metrics"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = self.every_n_steps and trainer.global_step % self.every_n_steps == 0
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if due and stepped and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageTraining)
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        score = self.metrics.get(pl_module.monitor)
        improved = score is not None and (self.best is None or score > self.best)
        self.best = score if improved else self.best
        self._save(trainer)
        if improved and trainer.is_global_zero:
            with write_atomically(self.folder / BEST) as file, (self.folder / LAST).open("rb") as last:
                shutil.copyfileobj(last, file)

    def _save(self, trainer: L.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()
        last = self.folder / LAST
        if trainer.is_global_zero and last.exists():
            last.replace(self.folder / PREVIOUS)
        # With the optimizer's state, which is plain values too: the file still loads with weights_only=True.
        trainer.save_checkpoint(last, weights_only=False)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a stage's folder, or None where none was written yet.

    Raises:
        CheckpointError: there are checkpoints, but none of them is whole.
    """
    found = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    for path in found:
        if is_whole(path):
            return path
        log.warning("%s is torn; going on from the checkpoint before it.", path)
    if found:
        raise CheckpointError(
            f"No checkpoint in {folder} is whole; remove that folder to train the stage again, or name one "
            "with resume=PATH."
        )
    return None


def is_whole(path: Path) -> bool:
    """Whether a checkpoint file is complete: torch writes zip archives, whose checksums tell."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False
