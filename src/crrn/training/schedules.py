"""Learning-rate schedules, stepped once per optimizer step; each is a thin face of a torch scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

from crrn.errors import ConfigError


class Schedule(Protocol):
    """Makes the scheduler of one stage from its length."""

    def __call__(self, optimizer: Optimizer, *, steps_per_epoch: int, epochs: int) -> LRScheduler: ...


def multistep(
    optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, milestones: Sequence[int] = (), factor: float = 0.1
) -> LRScheduler:
    """Multiplies the learning rate by ``factor`` at the start of each milestone epoch (paper: 50, from 1e-4 to 1e-5).

    Raises:
        ConfigError: a milestone is not inside the stage, so that it would silently never be reached.
    """
    late = [epoch for epoch in milestones if not 0 < epoch < epochs]
    if late:
        raise ConfigError(
            f"The schedule's milestones {late} lie outside the stage's {epochs} epochs; give milestones between 1 and "
            f"{epochs - 1}, such as stages.joint.schedule.milestones=[{max(1, epochs * 5 // 8)}], or [] for none."
        )
    return MultiStepLR(optimizer, [epoch * steps_per_epoch for epoch in milestones], gamma=factor)


def one_cycle(
    optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warm_up: float = 0.1, final_fraction: float = 0.01
) -> LRScheduler:
    """Rises over the first ``warm_up`` share of the stage to the stage's rate, then falls by a cosine (our choice,
    for short runs).
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(
        optimizer,
        max_lr=peaks,
        total_steps=steps_per_epoch * epochs + 1,
        pct_start=warm_up,
        cycle_momentum=False,
        div_factor=10.0,
        final_div_factor=1 / (10.0 * final_fraction),
    )
