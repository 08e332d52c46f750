"""Means with bootstrap intervals, and paired tests between removers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 2000
LEVEL = 0.95
SEED = 2018
CHUNK = 1 << 22
"""Numbers drawn at once, so that large benchmarks need no more memory than small ones."""


class Interval(NamedTuple):
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float
    images: int


def bootstrap(groups: Sequence[NDArray[np.float64]]) -> Interval:
    """The mean of the groups' means, and its 95 % percentile interval over 2,000 resamples of images within each group.

    One group is the plain mean over images. The resamples are the same on every machine. With fewer than two images
    there is no interval (NaN).
    """
    groups = [group for group in groups if len(group)]
    count = sum(map(len, groups))
    if not groups:
        return Interval(math.nan, math.nan, math.nan, 0)
    rng = np.random.Generator(np.random.Philox(SEED))
    means = np.zeros(RESAMPLES)
    for group in groups:
        step = max(1, CHUNK // len(group))
        for start in range(0, RESAMPLES, step):
            draws = rng.integers(len(group), size=(min(step, RESAMPLES - start), len(group)))
            means[start : start + step] += group[draws].mean(axis=1) / len(groups)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail]) if count > 1 else (math.nan, math.nan)
    return Interval(float(np.mean([group.mean() for group in groups])), float(low), float(high), count)


def pooled(values: Mapping[str, float], subsets: Mapping[str, str], pooling: str) -> list[NDArray[np.float64]]:
    """The values of images as groups for `bootstrap`: all in one, or one a subset; NaN is left out."""
    groups: dict[str, list[float]] = {}
    for image, value in values.items():
        if not math.isnan(value):
            groups.setdefault(subsets[image] if pooling == "subsets" else "", []).append(value)
    return [np.array(group) for group in groups.values()]


def compare(
    first: Mapping[str, float], second: Mapping[str, float], subsets: Mapping[str, str], pooling: str
) -> dict[str, Any]:
    """Two removers on the images that both have a value for.

    Returns:
        {"difference", "low", "high": the mean of first - second with its interval; "count"; "p": of the two-sided
        Wilcoxon signed-rank test (images without a difference are dropped; exact where they are few), None where the
        two never differ or share no image}.
    """
    both = [image for image in first if image in second and not math.isnan(first[image] - second[image])]
    differences = {image: first[image] - second[image] for image in both}
    interval = bootstrap(pooled(differences, subsets, pooling))
    values = np.array(list(differences.values()))
    p = float(stats.wilcoxon(values).pvalue) if values.any() else None
    return {"difference": interval.mean, "low": interval.low, "high": interval.high, "count": interval.images, "p": p}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjustment of several tests' p-values; None stays None."""
    order = sorted((index for index, p in enumerate(p_values) if p is not None), key=lambda index: p_values[index])  # type: ignore[arg-type, return-value]
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(order) - rank)))  # type: ignore[operator]
        adjusted[index] = largest
    return adjusted
