"""Checkpoints: when they are written, and that they are never torn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from crrn.errors import RunError
from crrn.files import write_atomically
from crrn.training.modules import StageTraining
from crrn.training.recovery import BEST, LAST, PREVIOUS
from crrn.training.validation import is_better


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, then renames; loads tensors and plain values only. The ``last.ckpt`` that was
    there becomes ``previous.ckpt`` only when the new one is complete, so at each moment one of the two is whole.

    Lightning's own writer goes through the system's temporary folder, which on another disk is a copy and can be torn.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        path = Path(path)
        with write_atomically(path, keep=path.with_name(PREVIOUS) if path.name == LAST else None) as file:
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

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not (self.folder / BEST).exists():
            self.best = None  # the run went back to before it

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
        improved = score is not None and is_better(pl_module.monitor, score, self.best)
        self.best = score if improved else self.best
        if improved:
            # Before last.ckpt: a run killed in between repeats the epoch's end, and the best is never left behind.
            self._save(trainer, BEST)
        self._save(trainer)

    def _save(self, trainer: L.Trainer, name: str = LAST) -> None:
        # A loss can be finite and its gradient not: such weights must not take the place of good ones.
        broken = [key for key, value in trainer.lightning_module.named_parameters() if not value.isfinite().all()]
        if broken:
            raise RunError(
                f"After step {trainer.global_step} weights are not finite, such as {broken[0]}; no checkpoint is "
                f"written, so that {self.folder / LAST} stays good. Lower the learning rate or set "
                "trainer.gradient_clip_val=1, and go on with resume=auto."
            )
        for logger in trainer.loggers:
            logger.save()
        # With the optimizer's state, which is plain values too: the file still loads with weights_only=True.
        trainer.save_checkpoint(self.folder / name, weights_only=False)
