"""The lengths of a run that is given a time: from measured times to epochs and samples."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from crrn.errors import ConfigError

RESERVE = 0.05
"""Share of a budget that is left free, as no two steps take the same time."""

VALIDATION_SHARE = 0.1
"""Share of the time that validations may take; beyond it there are fewer epochs, each of more steps."""

SAMPLES = "data.batches.samples_per_epoch"
"""The setting of an epoch's length."""


@dataclass(frozen=True)
class Budget:
    """The time that a run may take.

    Attributes:
        seconds: how much.
        began: when it began, by ``time.monotonic()``; now, where it is not given.
    """

    seconds: float
    began: float = field(default_factory=time.monotonic)


class StageTimes(NamedTuple):
    """Seconds that the parts of a stage take.

    Attributes:
        batch: a batch, with its share of an optimizer step.
        validation: the end of an epoch: its validation and its checkpoint.
        rest: once a stage: its start and its end.
    """

    batch: float
    validation: float
    rest: float


class Lengths(NamedTuple):
    """How long a run is.

    Attributes:
        epochs: of each stage.
        samples_per_epoch: of all stages.
    """

    epochs: dict[str, int]
    samples_per_epoch: int

    def settings(self) -> dict[str, int]:
        """The same as settings, with which a run without a budget is equal."""
        epochs = {epochs_setting(name): number for name, number in self.epochs.items()}
        return {**epochs, SAMPLES: self.samples_per_epoch}


def epochs_setting(stage: str) -> str:
    """The setting of a stage's number of epochs."""
    return f"stages.{stage}.epochs"


def fit_lengths(
    seconds: float,
    spent: float,
    times: Mapping[str, StageTimes],
    weights: Mapping[str, float],
    most_epochs: int,
    batch_size: int,
    accumulate: int = 1,
    validate_every: int = 1,
) -> Lengths:
    """The lengths with which a run ends within its budget.

    The stages keep their proportions as nearly as whole epochs allow. There are as many epochs as `VALIDATION_SHARE`
    allows, and enough for the shortest stage to have one.

    Args:
        seconds: the budget.
        spent: seconds of it that are over.
        times: of each stage.
        weights: of each stage, in proportion to its length.
        most_epochs: of all stages together.
        batch_size: samples in a batch.
        accumulate: batches in an optimizer step.
        validate_every: epochs from one validation to the next; the last epoch always has one.

    Raises:
        ConfigError: the time is too short for one step in each epoch.
    """
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items()}
    fixed = sum(time.rest for time in times.values())
    left = (1 - RESERVE) * seconds - spent - fixed
    validation = sum(shares[name] * time.validation / validate_every for name, time in times.items())
    fewest = math.ceil(1 / min(shares.values()) - 1e-9)
    affordable = math.floor(VALIDATION_SHARE * left / validation) if validation else most_epochs
    epochs = divided(min(most_epochs, max(fewest, affordable)), shares)
    validations = {name: -(-number // validate_every) for name, number in epochs.items()}
    validating = sum(number * times[name].validation for name, number in validations.items())
    step = accumulate * sum(number * times[name].batch for name, number in epochs.items())
    steps = math.floor((left - validating) / step)
    if steps < 1:
        needed = (spent + fixed + validating + step) / (1 - RESERVE)
        raise ConfigError(
            f"budget={seconds:g}s is too short on this machine: {spent:.0f} s are over, the stages' start and end and "
            f"{sum(validations.values())} validations take {fixed + validating:.0f} s, and one step an epoch takes "
            f"{step:.1f} s; give budget={math.ceil(needed)}s or more, or lower data.validation.mixtures."
        )
    return Lengths(epochs, steps * accumulate * batch_size)


def describe_lengths(lengths: Lengths, times: Mapping[str, StageTimes], batch_size: int) -> str:
    """What was measured and what follows, with the settings of an equal run without a budget."""
    measured = "; ".join(
        f"{name}: {time.batch:.3g} s a batch, {time.validation:.3g} s a validation, {time.rest:.3g} s for start and end"
        for name, time in times.items()
    )
    batches = lengths.samples_per_epoch // batch_size
    given = " ".join(f"{name}={value}" for name, value in lengths.settings().items())
    return (
        f"Measured on this machine: {measured}. An epoch has {batches:,} batches. The same run without budget: {given}"
    )


def divided(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """``total`` in whole numbers as near to the shares as they can be, each 1 or more.

    Args:
        total: at least the number of shares.
        shares: which sum to 1.
    """
    parts = dict.fromkeys(shares, 1)
    for _ in range(total - len(parts)):
        parts[max(parts, key=lambda name: shares[name] * total - parts[name])] += 1
    return parts
