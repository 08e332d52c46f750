"""What a suite measures with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import cv2
import torch

from crrn.bench.race import Contestant, Times, check, largest_difference, measure, quartiles
from crrn.bench.results import Line, Spread, Target, readable, readable_seconds

log = logging.getLogger(__name__)


class Suite(Protocol):
    """A named set of measurements: any class with this one method.

    Its constructor takes sizes and counts from the node of ``conf/suite/NAME.yaml`` (package ``suite.NAME``); the key
    ``toy`` of that node holds the values with which the tests run it, within a second or two. ``run`` prepares
    contestants and hands them to ``bench.race``, or measures something else and hands it to ``bench.figure``. What it
    needs (photos, networks) it makes itself, from fixed seeds; what it writes goes into ``tempfile``. A target that is
    missed is no error; contestants that disagree are.
    """

    def run(self, bench: Bench) -> None:
        """Measures and reports to ``bench``."""
        ...


class Bench:
    """Takes the measurements of one suite and keeps their lines.

    Args:
        suite: the suite's name.
        repetitions: repetitions of a race at most.
        seconds: seconds after which a race begins no further repetition (there are three at least).
        threads: threads of torch and OpenCV, where a suite does not choose its own.
    """

    def __init__(self, suite: str, repetitions: int = 15, seconds: float = 8.0, threads: int = 1) -> None:
        self.suite = suite
        self.repetitions = repetitions
        self.seconds = seconds
        self.threads = threads
        self.lines: list[Line] = []

    def race(
        self,
        title: str,
        contestants: Mapping[str, Contestant],
        *,
        reference: str,
        tolerance: float,
        difference: Callable[[Any, Any], float] = largest_difference,
        incomparable: Sequence[str] = (),
        targets: Mapping[str, float] | None = None,
        items: int = 1,
        unit: str = "image",
        repetitions: int | None = None,
        seconds: float | None = None,
        cpu_time: bool = False,
    ) -> Times:
        """Checks that the contestants agree, then times them in turn.

        Args:
            title: what they all do, unique in the suite, such as "SSIM forward, 8x3x224x288".
            contestants: functions without arguments by name; each gives its result, for the check.
            reference: the name of the one that the others are compared with; crrn's own is "crrn".
            tolerance: how much a result may differ from the reference's.
            difference: measures that, from the reference's result and another.
            incomparable: contestants that do more or less than the others on purpose, and are not checked.
            targets: by contestant, how many times faster than the reference it should be.
            items: items that one call works on.
            unit: what an item is.
            repetitions: another number than the command's.
            seconds: likewise.
            cpu_time: whether the process's CPU time is taken, on which background load has less effect; for contestants
                on one thread.

        Returns:
            Seconds a call, paired by repetition.

        Raises:
            RunError: the contestants disagree.
        """
        comparable = {name: run for name, run in contestants.items() if name not in incomparable}
        differences = check(f"{self.suite}: {title}", comparable, reference, tolerance, difference)
        for name in incomparable:
            contestants[name]()
        times = measure(
            contestants, reference, repetitions or self.repetitions, seconds or self.seconds, cpu_time=cpu_time
        )
        self.report(title, times, differences=differences, targets=targets, items=items, unit=unit)
        return times

    def report(
        self,
        title: str,
        times: Times,
        *,
        differences: Mapping[str, float] | None = None,
        targets: Mapping[str, float] | None = None,
        items: int = 1,
        unit: str = "image",
    ) -> None:
        """Keeps the lines of a race that was timed elsewhere, such as step by step inside a trainer."""
        for name, seconds in times.seconds.items():
            own = name != times.reference
            samples = [value / items for value in seconds]
            self._keep(
                Line(
                    suite=self.suite,
                    title=title,
                    contestant=name,
                    value=spread(samples),
                    unit=unit,
                    ratio=spread(times.ratios(name)) if own else None,
                    reference=times.reference if own else None,
                    difference=(differences or {}).get(name) if own else None,
                    target=Target(targets[name]) if targets and name in targets else None,
                    samples=samples,
                )
            )

    def figure(
        self,
        title: str,
        value: float | list[float],
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Keeps a figure that is no race: a memory peak, a share, a throughput; a list is repeated measurements, of
        which the median counts.
        """
        bound = at_least if at_least is not None else at_most
        target = None if bound is None else Target(bound, at_least=at_least is not None)
        samples = value if isinstance(value, list) else [value]
        self._keep(Line(self.suite, title, None, spread(samples), unit, target=target, samples=samples))

    @contextmanager
    def with_threads(self, count: int) -> Iterator[None]:
        """Torch and OpenCV on ``count`` threads within the block."""
        before = torch.get_num_threads(), cv2.getNumThreads()
        torch.set_num_threads(count)
        cv2.setNumThreads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            cv2.setNumThreads(before[1])

    def _keep(self, line: Line) -> None:
        self.lines.append(line)
        log.info("%s: %s", self.suite, sentence(line))


def spread(samples: list[float]) -> Spread:
    """Median and quartiles."""
    low, median, high = quartiles(samples)
    return Spread(median, low, high)


def sentence(line: Line) -> str:
    """A line as it is said while the benchmark runs."""
    if line.contestant is None:
        return f"{line.title}: {readable(line.value.median)} {line.unit}"
    text = f"{line.title}: {line.contestant} {readable_seconds(line.value.median)} per {line.unit}"
    if line.ratio is None:
        return text
    return f"{text}, {readable(line.ratio.median)} times as fast as {line.reference}"
