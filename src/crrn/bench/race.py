"""Races: how long several ways of doing one thing take, run in turn, so that what else the machine does meets all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crrn.errors import RunError

Contestant = Callable[[], Any]

SHORTEST = 0.02
"""Seconds that a sample lasts at least: faster contestants are called several times in a row."""

FEWEST = 3
"""Repetitions of a race at least, however long it takes."""


@dataclass
class Times:
    """Seconds a call, by contestant; element i of each list was measured in repetition i."""

    reference: str
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def ratios(self, contestant: str) -> list[float]:
        """How many times faster than the reference, in each repetition."""
        pairs = zip(self.seconds[self.reference], self.seconds[contestant], strict=True)
        return [reference / own for reference, own in pairs]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)


def measure(
    contestants: Mapping[str, Contestant],
    reference: str,
    repetitions: int,
    seconds: float,
    shortest: float = SHORTEST,
    cpu_time: bool = False,
) -> Times:
    """Times the contestants in turn, A B C, C B A, A B C: each repetition gives one sample of each.

    Args:
        contestants: what is timed; each has been called before, so that nothing is loaded or compiled now.
        reference: the name of the one that the others are compared with.
        repetitions: at most so many.
        seconds: after so many seconds no further repetition is begun, once there are three.
        shortest: seconds that a sample lasts at least.
        cpu_time: whether samples are the process's time on a CPU, of which background load takes none, instead of
            passing time.
    """
    calls = {
        name: math.ceil(max(shortest, 1e-9) / max(once(run, 1, cpu_time), 1e-7)) for name, run in contestants.items()
    }
    times = Times(reference, {name: [] for name in contestants})
    began = time.perf_counter()
    for repetition in range(repetitions):
        order = list(contestants) if repetition % 2 == 0 else list(contestants)[::-1]
        for name in order:
            times.seconds[name].append(once(contestants[name], calls[name], cpu_time))
        if repetition + 1 >= FEWEST and time.perf_counter() - began > seconds:
            break
    return times


def once(run: Contestant, calls: int, cpu_time: bool = False) -> float:
    """Seconds a call over ``calls`` calls, with all that they leave running on a GPU."""
    clock = time.process_time if cpu_time else time.perf_counter
    began = clock()
    for _ in range(calls):
        run()
    synchronise()
    return (clock() - began) / calls


def synchronise() -> None:
    """Waits for the GPU, where one is in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def largest_difference(first: Any, second: Any) -> float:
    """The largest absolute difference between two results: numbers, arrays, tensors, or lists, tuples and dicts of
    them; infinite where their shapes or lengths differ, or one has a NaN.
    """
    if first is None and second is None:
        return 0.0
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return math.inf
        return max((largest_difference(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        if len(first) != len(second):
            return math.inf
        return max((largest_difference(*pair) for pair in zip(first, second, strict=True)), default=0.0)
    a, b = (
        np.asarray(x.detach().double().cpu() if isinstance(x, Tensor) else x, dtype=np.float64) for x in (first, second)
    )
    if a.shape != b.shape:
        return math.inf
    worst = float(np.abs(a - b).max(initial=0.0))
    return math.inf if math.isnan(worst) else worst


def check(
    title: str,
    contestants: Mapping[str, Contestant],
    reference: str,
    tolerance: float,
    difference: Callable[[Any, Any], float] = largest_difference,
) -> dict[str, float]:
    """Runs each contestant once and gives the differences of their results from the reference's.

    Raises:
        RunError: one differs by more than ``tolerance``: they do not do the same, and racing them would mean nothing.
    """
    expected = contestants[reference]()
    found = {}
    for name, run in contestants.items():
        found[name] = 0.0 if name == reference else difference(expected, run())
        if not found[name] <= tolerance:
            raise RunError(
                f"{title}: the result of {name} differs from that of {reference} by {found[name]:.3g}, more than the "
                f"{tolerance:.3g} allowed; nothing was timed. Report it with the versions of your packages."
            )
    return found
