"""Learning-rate schedules, stepped once per optimizer step, made of torch's schedulers.

All lengths are shares of the stage, so that a schedule fits a stage of any length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, OneCycleLR, SequentialLR

from crrn.errors import ConfigError

WARM_UP_FROM = 0.1
"""Share of the stage's rate at which a warm-up begins (our choice)."""


class Schedule(Protocol):
    """Makes the scheduler of one stage from its length."""

    def __call__(self, optimizer: Optimizer, *, steps_per_epoch: int, epochs: int) -> LRScheduler: ...


def multistep(
    optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, milestones: Sequence[float] = (), factor: float = 0.1
) -> LRScheduler:
    """Multiplies the learning rate by ``factor`` at each milestone.

    Milestones are shares of the stage. The paper's is 0.625: after 50 of 80 epochs, from 1e-4 to 1e-5.

    Raises:
        ConfigError: a milestone is not a share between 0 and 1.
    """
    outside = [share for share in milestones if not 0 < share < 1]
    if outside:
        raise ConfigError(
            f"The schedule's milestones {outside} are not shares of the stage: give numbers between 0 and 1, such as "
            f"{5 / 8:g} for after 50 of 80 epochs, or [] for none."
        )
    steps = steps_per_epoch * epochs
    return MultiStepLR(optimizer, [round(share * steps) for share in milestones], gamma=factor)


def one_cycle(
    optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warm_up: float = 0.1, final_fraction: float = 0.01
) -> LRScheduler:
    """Rises to the stage's rate over the first ``warm_up`` share of the stage, then falls by a cosine.

    Our choice, for short runs.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(
        optimizer,
        max_lr=peaks,
        total_steps=steps_per_epoch * epochs + 1,
        pct_start=warm_up,
        cycle_momentum=False,
        div_factor=1 / WARM_UP_FROM,
        final_div_factor=WARM_UP_FROM / final_fraction,
    )


def cosine(optimizer: Optimizer, *, steps_per_epoch: int, epochs: int, warm_up: float = 0.05) -> LRScheduler:
    """Rises linearly to the stage's rate over the first ``warm_up`` share of the stage, then falls to zero by a cosine.

    Loshchilov and Hutter, ICLR 2017, without restarts.

    Raises:
        ConfigError: ``warm_up`` is not a share of the stage.
    """
    if not (isinstance(warm_up, int | float) and 0 <= warm_up < 1):
        raise ConfigError(
            f"The schedule's warm_up={warm_up} is not a share of the stage: give 0 to below 1, e.g. 0.05."
        )
    steps = steps_per_epoch * epochs
    rising = min(round(warm_up * steps), steps - 1)
    if not rising:
        return CosineAnnealingLR(optimizer, steps)
    return SequentialLR(
        optimizer,
        [LinearLR(optimizer, WARM_UP_FROM, total_iters=rising), CosineAnnealingLR(optimizer, steps - rising)],
        milestones=[rising],
    )
