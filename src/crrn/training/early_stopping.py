"""Ends a stage whose monitored metric no longer improves."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import EarlyStopping

from crrn.training.validation import lower_is_better


class Patience(EarlyStopping):
    """Lightning's early stopping, after ``validations`` in a row without a better value of the monitored metric.

    Its counts are in each checkpoint. A resumed stage therefore ends at the same epoch as an uninterrupted one. This
    includes a stage that was killed just before it ended, which Lightning's own would train for a further epoch.

    Args:
        monitor: the stage's monitored metric.
        validations: the allowed number of validations without an improvement.
    """

    def __init__(self, monitor: str, validations: int) -> None:
        super().__init__(
            monitor,
            patience=validations,
            mode="min" if lower_is_better(monitor) else "max",
            check_finite=False,
            check_on_train_epoch_end=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores all but the patience, which is a setting."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


def may_be_last(trainer: L.Trainer) -> bool:
    """Whether the validation that begins, or has just ended, can be the stage's last."""
    patience = next((callback for callback in trainer.callbacks if isinstance(callback, Patience)), None)  # type: ignore[attr-defined]
    if patience is not None and patience.wait_count + 1 >= patience.patience:
        return True
    return is_last(trainer)


def is_last(trainer: L.Trainer) -> bool:
    """Whether the validation that has just ended is the stage's last."""
    return trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
