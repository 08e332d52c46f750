"""What a benchmark found: one line of a table for each contestant of a race and for each figure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Target:
    """A bound that a value should keep."""

    bound: float
    at_least: bool = True

    def reached_by(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One contestant of a race, or one figure.

    Attributes:
        suite: the suite.
        title: what was measured.
        contestant: whose time it is; None for a figure.
        value: seconds an item in a race; else the figure.
        unit: the item of a race, such as "image"; else the figure's unit, such as "GB".
        ratio: how many times faster than the reference, paired by repetition; None for a reference and for figures.
        reference: what the ratio is to.
        difference: the result's largest difference from the reference's.
        target: the bound of the ratio's median, or of the figure.
        samples: what was measured, in the order of the repetitions; seconds an item.
    """

    suite: str
    title: str
    contestant: str | None
    value: Spread
    unit: str
    ratio: Spread | None = None
    reference: str | None = None
    difference: float | None = None
    target: Target | None = None
    samples: list[float] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What tells lines apart, also of two runs."""
        return self.suite, self.title, self.contestant

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without a target."""
        if self.target is None:
            return None
        return self.target.reached_by((self.ratio or self.value).median)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "reached": self.reached}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Line:
        """The line that ``as_dict`` gave."""
        rest = {key: value for key, value in values.items() if key != "reached"}
        for key, kind in (("value", Spread), ("ratio", Spread), ("target", Target)):
            rest[key] = kind(**rest[key]) if rest.get(key) is not None else None
        return cls(**rest)


def readable(value: float, digits: int = 3) -> str:
    """A number with about ``digits`` digits that count: ``0.0123``, ``12.3``, ``1,230``."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def readable_seconds(seconds: float) -> str:
    """``3.2 µs``, ``12.3 ms``, ``1.23 s``."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= factor:
            return f"{readable(seconds / factor)} {unit}"
    return f"{readable(seconds * 1e9)} ns"
