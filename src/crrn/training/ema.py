"""An exponential moving average of the weights beside the net, used for validation and as the stage's result."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from crrn.errors import ConfigError
from crrn.private import copy_all


class EMA(Callback):
    """Averages weights and batch statistics after each optimizer step.

    The decay at the n-th update is ``min(decay, (1 + n) / (10 + n))``. With this warm-up, short runs profit too: with a
    constant 0.999, the average would still contain a third of the initial weights after 1,000 steps. This is our
    choice; the paper does not average.

    The average is on the module's device, and no update waits for the device. (Lightning's own averaging and torch's
    ``AveragedModel`` read their counter of updates from it.) A validation uses the average. A checkpoint has it as
    ``state_dict``, and the trained weights as ``current_model_state``.

    Args:
        decay: between 0 and 1.

    Raises:
        ConfigError: another decay.
    """

    def __init__(self, decay: float) -> None:
        if not (isinstance(decay, int | float) and 0 < decay < 1):
            raise ConfigError(f"ema_decay={decay} is not between 0 and 1; try ema_decay=0.999, or null for none.")
        self.decay = decay
        self.updates = 0
        self._average: dict[str, Tensor] = {}
        self._current: dict[str, Tensor] = {}
        self._step = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Detached, in the memory of the weights themselves; here they are on their device.
        self._current = {name: value.detach() for name, value in pl_module.state_dict().items()}
        self._average = {
            name: self._average.get(name, value).to(value.device, copy=True) for name, value in self._current.items()
        }

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step = trainer.global_step  # restored only after on_fit_start

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Takes the present weights into the average; the first update copies them, as counters always are."""
        averaged, counted = (
            [name for name, value in self._current.items() if value.is_floating_point() is kind]
            for kind in (True, False)
        )
        if self.updates:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            average, current = ([values[name] for name in averaged] for values in (self._average, self._current))
            get_ema_multi_avg_fn(decay)(average, current, self.updates)
        else:
            counted = list(self._current)
        copy_all(*([values[name] for name in counted] for values in (self._average, self._current)))
        self.updates += 1

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._swap()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._swap()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        copy_all(list(self._current.values()), list(self._average.values()))

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates = state_dict["updates"]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["current_model_state"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = dict(self._average)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        # The module has taken the average, as any reader of a checkpoint does.
        self._average = dict(checkpoint["state_dict"])
        if "current_model_state" in checkpoint:
            pl_module.load_state_dict(checkpoint["current_model_state"])

    def _swap(self) -> None:
        current, average = list(self._current.values()), list(self._average.values())
        before = [value.clone() for value in current]
        copy_all(current, average)
        copy_all(average, before)


def averaging(decay: float | None) -> EMA | None:
    """The callback that averages the weights; None, which turns it off, where ``decay`` is None."""
    return None if decay is None else EMA(decay)
