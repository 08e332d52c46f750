"""An exponential moving average of the weights beside the net, used for validation and as the stage's result."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from crrn.errors import ConfigError


class EMA(WeightAveraging):
    """Averages weights and batch statistics after each step with decay ``min(decay, (1 + n) / (10 + n))`` at the n-th
    update.

    The warm-up lets short runs profit too: a constant 0.999 would still hold a third of the initial weights after 1,000
    steps. Our choice; the paper does not average.
    """

    def __init__(self, decay: float) -> None:
        if not (isinstance(decay, int | float) and 0 < decay < 1):
            raise ConfigError(f"ema_decay={decay} is not between 0 and 1; try ema_decay=0.999, or null for none.")
        self.decay = decay
        super().__init__(use_buffers=True, multi_avg_fn=self._average)

    @torch.no_grad()
    def _average(self, averages: Sequence[Tensor], currents: Sequence[Tensor], updates: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)
            return
        decay = min(self.decay, (1 + int(updates)) / (10 + int(updates)))
        get_ema_multi_avg_fn(decay)(list(averages), list(currents), updates)


def averaging(decay: float | None) -> EMA | None:
    """The callback that averages the weights; None, which turns it off, where ``decay`` is None."""
    return None if decay is None else EMA(decay)
