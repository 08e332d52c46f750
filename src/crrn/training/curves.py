"""The curves of a run: which numbers are logged, when, and the CSV file that always holds them."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from crrn.files import write_atomically
from crrn.training.fingerprints import step_fingerprint
from crrn.training.modules import StageTraining
from crrn.training.validation import SETS


class CsvCurves(Logger):
    """Writes ``metrics.csv``, one row a step, into the stage's folder; goes on with the file of an interrupted run.

    Lightning's own CSV logger deletes the file that it finds, so a resumed run would lose its past.

    Args:
        folder: the stage's folder.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.rows: dict[int, dict[str, str]] = {}
        self._changed = False

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
        """Reads back the rows up to ``step`` and drops later ones: the steps after the checkpoint are trained again."""
        if self.path.exists():
            with self.path.open(newline="") as file:
                rows = {int(row["step"]): row for row in csv.DictReader(file)}
            self.rows = {
                at: {k: v for k, v in row.items() if k != "step" and v} for at, row in rows.items() if at <= step
            }
            self._changed = True

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = self.rows.setdefault(int(step or 0), {})
        row.update({name: repr(float(value)) for name, value in metrics.items()})
        self._changed = True

    @rank_zero_only
    def save(self) -> None:
        """Writes the whole file atomically, so that whoever reads it meanwhile sees complete rows."""
        if not self._changed:
            return
        columns = ["step", *dict.fromkeys(name for row in self.rows.values() for name in row)]
        with write_atomically(self.path, "w") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({"step": step, **row} for step, row in sorted(self.rows.items()))
        self._changed = False

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


class Curves(Callback):
    """Sends the loss terms every ``every_n_steps`` optimizer steps, and each validation, to all loggers.

    It does so itself rather than through ``LightningModule.log``: Lightning logs a step after the hook in which
    checkpoints are written, so a run killed in between would lose that row; and reading the terms only when they are
    logged leaves the GPU undisturbed in between.

    Columns: ``train/<term>``, ``train/learning_rate``, ``train/mixtures_per_second``, ``train/data_share`` (the share
    of wall time that training waited for data), and the metrics of :mod:`crrn.training.validation`; ``epoch`` counts
    from 0. Loss terms are means over the step's mixtures on all devices.

    Args:
        every_n_steps: optimizer steps between two rows.
        fingerprints: adds ``train/fingerprint``, see :mod:`crrn.training.fingerprints`.
    """

    def __init__(self, every_n_steps: int = 20, fingerprints: bool = False) -> None:
        self.every_n_steps = every_n_steps
        self.fingerprints = fingerprints
        self.mixtures_per_second = 0.0
        self.data_share = 0.0
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._since = self._batch_ended = time.perf_counter()
        self._mixtures = 0
        self._waited = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, CsvCurves):
                logger.resume(trainer.global_step)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restart_clock()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._waited += time.perf_counter() - self._batch_ended

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, StageTraining)
        self._batch_ended = time.perf_counter()
        self._mixtures += len(batch.mixture) * trainer.world_size
        if trainer.global_step % self.every_n_steps == 0 or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            terms = {f"train/{name}": value for name, value in global_means(trainer, pl_module.terms).items()}
            if self.fingerprints:
                terms["train/fingerprint"] = step_fingerprint(pl_module, batch)
            if pl_module.guard.policy == "skip":
                terms["train/skipped_steps"] = pl_module.guard.skipped
            elapsed = time.perf_counter() - self._since
            self.mixtures_per_second = self._mixtures / elapsed
            self.data_share = self._waited / elapsed
            self._log(
                trainer,
                {
                    "epoch": trainer.current_epoch,
                    **terms,
                    "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                    "train/mixtures_per_second": self.mixtures_per_second,
                    "train/data_share": self.data_share,
                },
            )
            self._restart_clock()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self._log(trainer, {name: value for name, value in metrics.items() if name.partition("/")[0] in SETS})
            self._restart_clock()

    @staticmethod
    def _log(trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(dict(metrics), step=trainer.global_step)
            logger.save()


def global_means(trainer: L.Trainer, terms: Mapping[str, Tensor]) -> dict[str, float]:
    """The terms' means over all devices, whose batches are of one size. All ranks must call it together."""
    values = trainer.strategy.reduce(torch.stack([value.float() for value in terms.values()]), reduce_op="mean")
    return dict(zip(terms, values.tolist(), strict=True))
