"""A callback under which waiting for the GPU is an error."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback


class NoWaiting(Callback):
    """Makes each wait for the GPU an error within some steps.

    Args:
        first: the first of the steps: those before load libraries and take memory.
        steps: how many.
    """

    def __init__(self, first: int, steps: int) -> None:
        self.first = first
        self.steps = steps
        self.done = 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.first:
            self._mode(pl_module, "error")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self.first:
            self.done += 1
        if trainer.global_step == self.first + self.steps:
            self._mode(pl_module, "default")
            print(f"{self.done} steps without a wait")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._mode(pl_module, "default")

    @staticmethod
    def _mode(module: L.LightningModule, mode: str) -> None:
        if module.device.type == "cuda":
            torch.cuda.set_sync_debug_mode(mode)
