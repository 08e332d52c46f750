"""The terminal's output while a stage trains: a progress bar if there is a terminal, and a line for each validation."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.markup import escape

from crrn.metrics.gain import HARM_RATE
from crrn.training.counters import PREFIX
from crrn.training.curves import Curves
from crrn.training.stage_training import StageTraining
from crrn.training.validation import SETS

log = logging.getLogger(__name__)

SHOWN = (("SSIM", "background_ssim", ".4f"), ("SI", "background_si", ".4f"), ("PSNR", "background_psnr", ".2f"))
GRADIENT = ("gradient SI", "gradient_si", ".4f")
"""Label, metric and format in the line after a validation."""


class ProgressBar(RichProgressBar):
    """Lightning's rich bar, fed with the loss terms and the throughput; silent where the output is not a terminal."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1 if sys.stdout.isatty() else 0)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        print_log_above_bar()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.name_stage(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.name_stage(trainer, pl_module)  # a run that is resumed within an epoch starts none

    def name_stage(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Names the stage and its epoch before the bar."""
        if self.progress is not None and self.train_progress_bar_id is not None:
            name = escape(getattr(pl_module, "name", ""))  # the bar reads it as markup
            epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.progress.update(self.train_progress_bar_id, description=f"{name} {epoch}")

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """What the curves read last: the bar itself reads nothing from the device."""
        curves = curves_of(trainer)
        if curves is None:
            return {}
        return {**curves.latest, "samples/s": curves.speed.get(f"{PREFIX}samples_per_second", 0.0)}


def curves_of(trainer: L.Trainer) -> Curves | None:
    """The callback that reads the loss terms, if the trainer has it."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, Curves)), None)  # type: ignore[attr-defined]


class CurrentStdout:
    """Writes to whatever ``sys.stdout`` is at that moment."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def print_log_above_bar() -> None:
    """Sends log lines through the stdout that rich replaces while a bar is shown.

    Written straight to the terminal, they would appear in the middle of the bar.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(CurrentStdout())


class ProgressLines(Callback):
    """Prints a line after each validation, with the metrics, those of the identity, and the time left in the stage.

    Without a progress bar, a line a minute shows the progress.
    """

    HEARTBEAT = 60.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self._spoke = time.perf_counter()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.perf_counter() - self._spoke > self.HEARTBEAT and not sys.stdout.isatty():
            curves = curves_of(trainer)
            self._say(trainer, pl_module, {} if curves is None else curves.latest)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            assert isinstance(pl_module, StageTraining)
            values = {name: float(value) for name, value in pl_module.terms.items()}
            self._say(trainer, pl_module, values, validation_line(metrics))

    def _say(self, trainer: L.Trainer, pl_module: L.LightningModule, values: Mapping[str, float], *more: str) -> None:
        assert isinstance(pl_module, StageTraining)
        self._spoke = time.perf_counter()
        done = trainer.global_step - self._first_step
        left = int(trainer.estimated_stepping_batches) - trainer.global_step
        seconds = (time.perf_counter() - self._started) / max(1, done) * left
        terms = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        place = f"{pl_module.name} epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  step {trainer.global_step}"
        log.info("  |  ".join([f"{place}  {terms}", *more, f"{readable_time(seconds)} left"]))


def validation_line(metrics: dict[str, float]) -> str:
    """Of each set ``SSIM 0.9120 (identity 0.8800)  SI ...  PSNR ...  matched gain +0.31 dB  harm 12 %`` of the
    background, or ``gradient SI ...`` where only that is estimated; the pairs come second, as ``pairs: SSIM ...``.
    """
    lines = []
    for prefix in SETS:
        values = {name.partition("/")[2]: value for name, value in metrics.items() if name.startswith(f"{prefix}/")}
        parts = [
            f"{label} {values[key]:{form}} (identity {values[f'identity_{key}']:{form}})"
            for label, key, form in (SHOWN if "background_ssim" in values else (GRADIENT,))
            if key in values
        ]
        if HARM_RATE in values:
            parts += [f"matched gain {values['matched_gain_psnr']:+.2f} dB", f"harm {values[HARM_RATE]:.0%}"]
        if parts:
            lines.append(("" if prefix == SETS[0] else f"{prefix}: ") + "  ".join(parts))
    return "  |  ".join(lines)


def readable_time(seconds: float) -> str:
    """``2 h 05 min``, ``3 min 20 s``, ``12 s``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
