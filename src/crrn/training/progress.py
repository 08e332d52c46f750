"""What a person sees while a stage trains: a progress bar in a terminal, and one line for each validation
everywhere.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback, RichProgressBar

from crrn.training.curves import Curves
from crrn.training.modules import StageTraining

log = logging.getLogger(__name__)


class ProgressBar(RichProgressBar):
    """Lightning's rich bar, fed with the loss terms and the throughput; silent where the output is not a terminal."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1 if sys.stdout.isatty() else 0)

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """The latest terms, read from the device only as often as the curves are logged."""
        assert isinstance(pl_module, StageTraining)
        curves = next(callback for callback in trainer.callbacks if isinstance(callback, Curves))  # type: ignore[attr-defined]
        if trainer.global_step % curves.every_n_steps == 0 or not hasattr(self, "_shown"):
            self._shown: dict[str, Any] = {name: float(value) for name, value in pl_module.terms.items()}
        return {**self._shown, "mixtures/s": curves.mixtures_per_second}


class ValidationLines(Callback):
    """Prints one line after each validation, beside the identity's, with the time that the stage still needs."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()
        self._first_step = trainer.global_step

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, StageTraining)
        if trainer.sanity_checking:
            return
        done = trainer.global_step - self._first_step
        left = int(trainer.estimated_stepping_batches) - trainer.global_step
        seconds = (time.perf_counter() - self._started) / max(1, done) * left
        terms = "  ".join(f"{name} {float(value):.4f}" for name, value in pl_module.terms.items())
        log.info(
            "%s epoch %d/%s  step %d  %s  |  %s  |  %s left",
            pl_module.name,
            trainer.current_epoch + 1,
            trainer.max_epochs,
            trainer.global_step,
            terms,
            validation_line({name: float(value) for name, value in trainer.callback_metrics.items()}),
            readable_time(seconds),
        )


def validation_line(metrics: dict[str, float]) -> str:
    """``SSIM 0.912 (identity 0.880)  SI ...  PSNR ...`` of the background, or ``gradient SI ...`` where only GiN is
    trained.
    """
    if "val/background_ssim" in metrics:
        shown = [("SSIM", "background_ssim", ".4f"), ("SI", "background_si", ".4f"), ("PSNR", "background_psnr", ".2f")]
    else:
        shown = [("gradient SI", "gradient_si", ".4f")]
    return "  ".join(
        f"{label} {metrics[f'val/{key}']:{form}} (identity {metrics[f'val/identity_{key}']:{form}})"
        for label, key, form in shown
        if f"val/{key}" in metrics
    )


def readable_time(seconds: float) -> str:
    """``2 h 05 min``, ``3 min 20 s``, ``12 s``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
