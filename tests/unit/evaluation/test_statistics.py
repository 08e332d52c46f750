"""Intervals and tests against scipy."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from crrn.evaluation.statistics import Stratum, bootstrap, compare, degrees_of_freedom, expanded_tail, holm, pooled


def singles(values: np.ndarray) -> list[Stratum]:
    """Images that are scenes of their own."""
    return [Stratum(values, np.ones(len(values)), 1.0)]


def each(images: list[str]) -> dict[str, str]:
    """Each image is a scene of its own."""
    return {image: image for image in images}


def test_the_interval_is_scipys_percentile_bootstrap_expanded_for_few_images() -> None:
    values = np.random.default_rng(3).gamma(2, size=60)
    found = bootstrap(singles(values))
    level = 1 - 2 * stats.norm.sf(stats.t.ppf(0.975, 59) * math.sqrt(60 / 59))
    assert 0.95 < level < 0.96
    options = {"method": "percentile", "n_resamples": 20000, "rng": 0, "confidence_level": level}
    reference = stats.bootstrap((values,), np.mean, **options).confidence_interval
    assert found.mean == pytest.approx(values.mean()) and found.images == found.scenes == 60
    assert found.low == pytest.approx(reference.low, abs=0.03) and found.high == pytest.approx(reference.high, abs=0.03)
    assert bootstrap(singles(values)) == found  # the same resamples every time


def test_the_expansion_vanishes_where_scenes_are_many() -> None:
    assert expanded_tail(1e6) == pytest.approx(0.025, abs=1e-6)
    assert expanded_tail(19) < expanded_tail(60) < 0.025


def test_degrees_of_freedom_are_welchs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 8), rng.normal(0, 3, 15)
    strata = [Stratum(values, np.ones(len(values)), 0.5) for values in (a, b)]
    assert degrees_of_freedom(strata) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).df)


def test_too_few_scenes_have_no_interval() -> None:
    assert math.isnan(bootstrap(singles(np.array([0.5]))).low)
    one_scene = bootstrap([Stratum(np.array([1.5]), np.array([3.0]), 1.0)])
    assert one_scene.mean == 0.5 and one_scene.images == 3 and math.isnan(one_scene.low)
    assert math.isnan(bootstrap([]).mean)


def test_pooling_says_which_mean() -> None:
    values, subsets = {"a": 1.0, "b": 1.0, "c": 4.0, "d": math.nan}, {"a": "x", "b": "x", "c": "y", "d": "y"}
    assert bootstrap(pooled(values, subsets, each([*values]), "images")).mean == 2
    assert bootstrap(pooled(values, subsets, each([*values]), "subsets")).mean == 2.5


def test_scenes_are_resampled_within_subsets_unless_one_has_a_single_scene() -> None:
    values = {str(n): float(n) for n in range(6)}
    scenes = dict(zip(values, "aabbcd", strict=True))
    two = pooled(values, dict(zip(values, "xxxxyy", strict=True)), scenes, "images")
    assert [(stratum.sums.tolist(), stratum.counts.tolist(), stratum.weight) for stratum in two] == [
        ([1, 5], [2, 2], pytest.approx(4 / 6)),
        ([4, 5], [1, 1], pytest.approx(2 / 6)),
    ]
    (one,) = pooled(values, dict(zip(values, "xxxxxy", strict=True)), scenes, "images")
    assert one.sums.tolist() == [1, 5, 4, 5] and one.weight == 1 and one.mean == 2.5


def sir2_like(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, str], dict[str, str]]:
    """Values of a benchmark as SIR2 is: twice 20 scenes of 10 images each, and 100 of one; their subsets and scenes.

    What is hard about a scene is in all of its images; the mean of each subset is known: 1, 0 and -1.
    """
    values, subsets, scenes = {}, {}, {}
    for subset, count, images, mean in (("postcard", 20, 10, 1.0), ("solid", 20, 10, 0.0), ("wild", 100, 1, -1.0)):
        for scene, hardness in enumerate(rng.normal(0, 1, count)):
            for image, noise in enumerate(rng.normal(0, 0.3, images)):
                name = f"{subset}/{scene}/{image}"
                values[name], subsets[name], scenes[name] = mean + hardness + noise, subset, f"{subset}/{scene}"
    return values, subsets, scenes


def covered(by_scene: bool, repeats: int, only: str | None = None) -> float:
    """How often the interval holds the true mean of a benchmark as SIR2 is, or of one of its subsets."""
    rng = np.random.default_rng(0)
    hits = 0
    truth = {"postcard": 1.0, "solid": 0.0, "wild": -1.0, None: (200 * 1 + 200 * 0 - 100) / 500}[only]
    for _ in range(repeats):
        values, subsets, scenes = sir2_like(rng)
        values = {image: value for image, value in values.items() if only in (None, subsets[image])}
        found = bootstrap(pooled(values, subsets, scenes if by_scene else each([*values]), "images"))
        hits += found.low <= truth <= found.high
    return hits / repeats


@pytest.mark.slow
def test_intervals_of_scenes_cover_and_those_of_images_do_not() -> None:
    assert 0.93 <= covered(by_scene=True, repeats=400) <= 0.97
    assert covered(by_scene=False, repeats=60) < 0.65


def test_removers_are_compared_on_the_images_they_share() -> None:
    rng = np.random.default_rng(5)
    first = {str(n): float(value) for n, value in enumerate(rng.normal(0.3, 1, 30))}
    second = {str(n): float(value) for n, value in enumerate(rng.normal(0, 1, 25))}
    found = compare(first, second, dict.fromkeys(first, ""), each([*first]), "images")
    differences = [first[image] - second[image] for image in second]
    assert found["count"] == 25 and found["difference"] == pytest.approx(np.mean(differences))
    assert found["p"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert compare(first, first, dict.fromkeys(first, ""), each([*first]), "images")["p"] is None


def test_the_paired_test_is_of_scenes() -> None:
    rng = np.random.default_rng(6)
    first = {str(n): float(value) for n, value in enumerate(rng.normal(0.5, 1, 24))}
    zeros, scenes = dict.fromkeys(first, 0.0), {image: str(int(image) // 3) for image in first}
    found = compare(first, zeros, dict.fromkeys(first, ""), scenes, "images")
    means = np.array(list(first.values())).reshape(8, 3).mean(axis=1)
    assert found["p"] == pytest.approx(stats.wilcoxon(means).pvalue)
    assert found["count"] == 24 and found["difference"] == pytest.approx(means.mean())


@pytest.mark.parametrize("zeros", [0, 1, 3])
def test_the_paired_test_is_exact_where_images_are_few(zeros: int) -> None:
    """Against all ways to give signs to the ranks, zeros dropped, ties sharing their ranks."""
    differences = np.round(np.random.default_rng(0).normal(0.4, 1, 9), 1)
    differences[:zeros] = 0
    some = differences[differences != 0]
    ranks = stats.rankdata(np.abs(some))
    reached = abs(ranks @ np.sign(some))
    all_signs = np.array(list(product((-1, 1), repeat=len(some))))
    expected = np.mean(np.abs(all_signs @ ranks) >= reached - 1e-9)
    first = {str(n): float(value) for n, value in enumerate(differences)}
    found = compare(first, dict.fromkeys(first, 0.0), dict.fromkeys(first, ""), each([*first]), "images")
    assert found["p"] == pytest.approx(expected) and found["count"] == 9


def test_holm_steps_down() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
