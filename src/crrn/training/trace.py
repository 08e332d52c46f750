"""A trace of a few steps: which operation ran when, on the CPU and on the GPU."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from torch.profiler import ProfilerActivity, profile, schedule, supported_activities

from crrn.training.rundir import stage_folder

log = logging.getLogger(__name__)

TRACE = "trace.json"


class Trace(Callback):
    """Writes ``trace.json`` into the stage's folder: open it at ui.perfetto.dev.

    Args:
        after: batches before the first that is recorded; the first ones load and compile what later ones do not.
        batches: batches that are recorded. A stage that ends before records what there is.
    """

    def __init__(self, after: int = 10, batches: int = 5) -> None:
        self.after = after
        self.batches = batches
        self._profile: profile | None = None
        self._path = Path()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._path = stage_folder(trainer, pl_module) / TRACE
        if trainer.is_global_zero:
            self._profile = profile(
                activities={ProfilerActivity.CPU, ProfilerActivity.CUDA} & set(supported_activities()),
                schedule=schedule(wait=max(0, self.after - 1), warmup=1, active=self.batches, repeat=1),
                on_trace_ready=self._write,
                record_shapes=True,
            )
            self._profile.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._profile is not None:
            self._profile.step()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def _write(self, recorded: profile) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(self._path))
        log.info("%s shows %d batches operation by operation: open it at ui.perfetto.dev.", self._path, self.batches)
