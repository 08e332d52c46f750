"""Means with bootstrap intervals, and paired tests between removers.

Images of one scene are not independent: what is hard about the scene is hard in all of them. So scenes are resampled
and tested, not images, wherever a benchmark says that it repeats scenes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """A mean with its confidence interval, and how many images and scenes it is of."""

    mean: float
    low: float
    high: float
    images: int
    scenes: int


@dataclass(frozen=True)
class Stratum:
    """Images among which scenes are resampled.

    Attributes:
        sums: of each scene's values, (scenes,).
        counts: of each scene's images, (scenes,).
        weight: what the mean over these images counts in the whole; the weights of all strata sum to 1.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]
    weight: float

    @property
    def mean(self) -> float:
        """The mean over images."""
        return float(self.sums.sum() / self.counts.sum())

    def variance(self) -> float:
        """An estimate of the variance of the weighted mean, by the scenes' deviations (a ratio estimator); 0 of one
        scene."""
        scenes = len(self.sums)
        if scenes < 2:
            return 0.0
        deviations = self.sums - self.mean * self.counts
        factor = scenes / (scenes - 1) * (self.weight / self.counts.sum()) ** 2
        return float(factor * (deviations @ deviations))


def bootstrap(strata: Sequence[Stratum]) -> Interval:
    """The weighted mean of the strata's means, and its 95 % interval over 2,000 resamples of scenes in each stratum.

    The interval is the percentile interval, expanded for few scenes (Hesterberg, What Teachers Should Know About the
    Bootstrap, 2015): its tails are those of the normal distribution at t sqrt(n / (n - 1)), with t the quantile of
    Student's distribution of n - 1 degrees of freedom. n - 1 is of Welch and Satterthwaite where there are several
    strata. A plain percentile interval of few scenes is too narrow.

    The resamples are the same on every machine. With fewer than two scenes there is no interval (NaN).
    """
    if not strata:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    scenes = sum(len(stratum.sums) for stratum in strata)
    images = int(sum(stratum.counts.sum() for stratum in strata))
    mean = math.fsum(stratum.weight * stratum.mean for stratum in strata)
    if scenes < 2:
        return Interval(mean, math.nan, math.nan, images, scenes)
    rng = np.random.Generator(np.random.Philox(SEED))
    means = np.zeros(RESAMPLES)
    for stratum in strata:
        of = len(stratum.sums)
        step = max(1, CHUNK // of)
        for start in range(0, RESAMPLES, step):
            draws = rng.integers(of, size=(min(step, RESAMPLES - start), of))
            resampled = stratum.sums[draws].sum(axis=1) / stratum.counts[draws].sum(axis=1)
            means[start : start + step] += stratum.weight * resampled
    tail = expanded_tail(degrees_of_freedom(strata))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), images, scenes)


def degrees_of_freedom(strata: Sequence[Stratum]) -> float:
    """Of the variance of the mean: Welch and Satterthwaite's; at least 1."""
    parts = [(stratum.variance(), len(stratum.sums) - 1) for stratum in strata if len(stratum.sums) > 1]
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    if not spread:  # all scenes alike
        return max(1.0, sum(freedom for _, freedom in parts))
    return max(1.0, sum(variance for variance, _ in parts) ** 2 / spread)


def expanded_tail(freedom: float) -> float:
    """The share of resamples on each side of the interval, see `bootstrap`."""
    quantile = stats.t.ppf(1 - (1 - LEVEL) / 2, freedom) * math.sqrt((freedom + 1) / freedom)
    return float(stats.norm.sf(quantile))


def pooled(
    values: Mapping[str, float], subsets: Mapping[str, str], scenes: Mapping[str, str], pooling: str
) -> list[Stratum]:
    """The values of images as strata for `bootstrap`; NaN is left out.

    Scenes are resampled within each subset, as a benchmark fixes the number of images of each. Where a subset has one
    scene alone, all subsets are one stratum: alone it would seem to have no variance.

    Args:
        values: by image.
        subsets, scenes: of each image.
        pooling: what the mean is of, "images" or "subsets" (of their means).
    """
    known = {image: value for image, value in values.items() if not math.isnan(value)}
    found: dict[str, dict[str, list[float]]] = {}
    for image, value in known.items():
        found.setdefault(subsets[image], {}).setdefault(scenes[image], []).append(value)
    if pooling == "images" and any(len(by_scene) < 2 for by_scene in found.values()):
        together: dict[str, list[float]] = {}
        for image, value in known.items():
            together.setdefault(scenes[image], []).append(value)
        found = {"": together}
    strata = []
    for by_scene in found.values():
        counts = np.array([len(scene) for scene in by_scene.values()], np.float64)
        weight = counts.sum() / len(known) if pooling == "images" else 1 / len(found)
        strata.append(Stratum(np.array([math.fsum(scene) for scene in by_scene.values()]), counts, float(weight)))
    return strata


def compare(
    first: Mapping[str, float],
    second: Mapping[str, float],
    subsets: Mapping[str, str],
    scenes: Mapping[str, str],
    pooling: str,
) -> dict[str, Any]:
    """Two removers on the images that both have a value for.

    Returns:
        {"difference", "low", "high": the mean of first - second with its interval; "count": of images; "p": of the
        two-sided Wilcoxon signed-rank test of the scenes' mean differences (scenes without a difference are dropped;
        exact where they are few), None where the two never differ or share no image}.
    """
    both = [image for image in first if image in second and not math.isnan(first[image] - second[image])]
    differences = {image: first[image] - second[image] for image in both}
    interval = bootstrap(pooled(differences, subsets, scenes, pooling))
    sizes = Counter(scenes[image] for image in both)
    by_scene = dict.fromkeys(sizes, 0.0)
    for image, value in differences.items():
        by_scene[scenes[image]] += value / sizes[scenes[image]]
    values = np.array(list(by_scene.values()))
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
