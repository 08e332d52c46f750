"""The curves of a run: which numbers are logged, when, and the CSV file that always holds them."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from crrn.errors import RunError
from crrn.files import append, write_atomically
from crrn.layers import Layers
from crrn.nets.network import training_estimate
from crrn.training.background import Reading, background
from crrn.training.counters import Counters, measured_peak, training_flops
from crrn.training.fingerprints import step_fingerprint
from crrn.training.stage_training import StageTraining
from crrn.training.validation import SETS

CURVES = "metrics.csv"
"""The curves' file in a stage's folder."""


class CsvCurves(Logger):
    """Writes ``metrics.csv`` into the stage's folder, one row a step. Continues the file of an interrupted run.

    Lightning's own CSV logger deletes an existing file, so a resumed run would lose its earlier rows.

    Args:
        folder: the stage's folder.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__()
        self.path = Path(folder) / CURVES
        self.rows: dict[int, dict[str, str]] = {}
        self._columns: list[str] = []
        self._last = -1
        self._new: list[int] | None = None
        """Steps of rows that are not yet in the file and belong behind those that are; None: all is to be written."""
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> CsvCurves:
        return self

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the run directory holds the resolved config."""

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Reads back the rows up to ``step`` and drops later ones: the steps after the checkpoint are trained again.
        RunError where the file is damaged."""
        if self.path.exists():
            try:
                text = self.path.read_text(encoding="utf-8")
                whole = text[: text.rfind("\n") + 1]  # a killed process may have left half of a row
                rows = {int(row["step"]): row for row in csv.DictReader(io.StringIO(whole))}
            except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
                reason = " ".join(str(error).split())
                raise RunError(
                    f"{self.path} is damaged: {reason}. Move it away, and the run goes on with new curves."
                ) from error
            self.rows = {
                at: {k: v for k, v in row.items() if k != "step" and v} for at, row in rows.items() if at <= step
            }
            self._last = max(self.rows, default=-1)
            self._new = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        at = int(step or 0)
        with self._lock:
            self.rows.setdefault(at, {}).update({name: repr(float(value)) for name, value in metrics.items()})
            if self._new is not None and at > self._last and metrics.keys() <= set(self._columns):
                self._new.append(at)
            else:
                self._new = None
            self._last = max(self._last, at)

    @rank_zero_only
    def save(self) -> None:
        """Brings the file up to date: appends new rows, or, where a row or the columns changed, writes the whole file
        atomically. Whoever reads it meanwhile sees all but perhaps the end of the last row."""
        with self._lock:
            if not self.rows:  # Lightning saves before a run has read its rows back
                return
            if self._new is None:
                self._columns = ["step", *dict.fromkeys(name for row in self.rows.values() for name in row)]
                with write_atomically(self.path, "w") as file:
                    csv.DictWriter(file, self._columns).writeheader()
                    self._write(file, sorted(self.rows))
            elif self._new:
                with append(self.path) as file:
                    self._write(file, self._new)
            self._new = []

    @rank_zero_only
    def sync(self) -> None:
        """Waits until the disk has what was saved: a checkpoint that follows never survives a power cut alone."""
        if self.path.exists():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _write(self, file: IO[str], steps: Iterable[int]) -> None:
        csv.DictWriter(file, self._columns).writerows({"step": step, **self.rows[step]} for step in steps)


class Curves(Callback):
    """Sends the loss terms every ``every_n_steps`` optimizer steps, and each validation, to all loggers.

    It does not use ``LightningModule.log``. Lightning logs a step after the hook in which checkpoints are written, so a
    run that is killed in between would lose that row. The terms are read from the device and written beside the
    training, which does not wait for them.

    Columns: ``train/<term>``, ``train/learning_rate``, ``speed/...`` of :mod:`crrn.training.counters`, and the metrics
    of :mod:`crrn.training.validation`. ``epoch`` counts from 0. Loss terms are means over the step's mixtures, over all
    devices and all batches whose gradients are accumulated.

    Args:
        every_n_steps: optimizer steps between two rows.
        fingerprints: adds ``train/fingerprint``, see :mod:`crrn.training.fingerprints`.

    Attributes:
        latest: the loss terms that were read last.
        speed: the counters of the latest row.
    """

    def __init__(self, every_n_steps: int = 20, fingerprints: bool = False) -> None:
        self.every_n_steps = every_n_steps
        self.fingerprints = fingerprints
        self.latest: dict[str, float] = {}
        self.speed: dict[str, float] = {}
        self._terms: list[Tensor] = []
        self._counters = Counters()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageTraining)
        if pl_module.device.type == "cuda":
            self._counters = Counters(cache(partial(step_flops, pl_module)), measured_peak(trainer))
        for logger in trainer.loggers:
            if isinstance(logger, CsvCurves):
                logger.resume(trainer.global_step)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._counters.begin(waited(trainer))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StageTraining)
        self._counters.count(batch.mixture, trainer.world_size)
        if trainer.accumulate_grad_batches > 1:
            self._terms.append(stacked(pl_module.terms))
        if not takes_step(trainer, batch_idx):
            return
        if trainer.global_step % self.every_n_steps == 0 or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            parts = self._terms or [stacked(pl_module.terms)]
            values = trainer.strategy.reduce(torch.stack(parts).mean(0), reduce_op="mean")
            self.speed = self._counters.row(pl_module.device, waited(trainer))
            metrics = {"train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"], **self.speed}
            if self.fingerprints:
                metrics["train/fingerprint"] = step_fingerprint(pl_module, batch)
            if pl_module.guard.policy == "skip":
                metrics["train/skipped_steps"] = pl_module.guard.skipped
            row = {"epoch": trainer.current_epoch, **metrics}
            background(trainer)(
                partial(self._send, trainer, trainer.global_step, list(pl_module.terms), Reading(values), row)
            )
        self._terms.clear()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            metrics = {name: value for name, value in metrics.items() if name.partition("/")[0] in SETS}
            background(trainer)(partial(log, trainer, trainer.global_step, metrics))
            self._counters.begin(waited(trainer))

    def _send(self, trainer: L.Trainer, step: int, names: list[str], terms: Reading, row: Mapping[str, float]) -> None:
        self.latest = dict(zip(names, terms.get().tolist(), strict=True))
        log(trainer, step, {**row, **{f"train/{name}": value for name, value in self.latest.items()}})


def log(trainer: L.Trainer, step: int, metrics: Mapping[str, float]) -> None:
    """Sends a row to all loggers, which write it."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=step)
        logger.save()


def waited(trainer: L.Trainer) -> float:
    """Seconds that the training's loader has kept its user waiting so far."""
    return float(getattr(trainer.train_dataloader, "waited", 0.0))


def step_flops(module: StageTraining, height: int, width: int) -> float:
    """Floating-point operations of a training step on one sample of that size."""
    return training_flops(module.net, _forward, height, width)


def _forward(net: nn.Module, images: Tensor) -> Layers:
    return training_estimate(net, images, images)


def takes_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether the optimizer takes a step after this batch, rather than accumulate its gradient."""
    last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    return last or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def stacked(terms: Mapping[str, Tensor]) -> Tensor:
    """The terms, which are scalars, as one tensor in float32."""
    return torch.stack([value.float() for value in terms.values()])
