"""Intervals and tests against scipy."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from crrn.evaluation.statistics import bootstrap, compare, holm, pooled


def test_the_interval_is_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(3).gamma(2, size=60)
    found = bootstrap([values])
    reference = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=0).confidence_interval
    assert found.mean == pytest.approx(values.mean()) and found.images == 60
    assert found.low == pytest.approx(reference.low, abs=0.03) and found.high == pytest.approx(reference.high, abs=0.03)
    assert bootstrap([values]) == found  # the same resamples every time


def test_too_few_images_have_no_interval() -> None:
    assert math.isnan(bootstrap([np.array([0.5])]).low)
    assert math.isnan(bootstrap([]).mean)


def test_pooling_says_which_mean() -> None:
    values, subsets = {"a": 1.0, "b": 1.0, "c": 4.0, "d": math.nan}, {"a": "x", "b": "x", "c": "y", "d": "y"}
    assert bootstrap(pooled(values, subsets, "images")).mean == 2
    assert bootstrap(pooled(values, subsets, "subsets")).mean == 2.5


def test_removers_are_compared_on_the_images_they_share() -> None:
    rng = np.random.default_rng(5)
    first = {str(n): float(value) for n, value in enumerate(rng.normal(0.3, 1, 30))}
    second = {str(n): float(value) for n, value in enumerate(rng.normal(0, 1, 25))}
    found = compare(first, second, dict.fromkeys(first, ""), "images")
    differences = [first[image] - second[image] for image in second]
    assert found["count"] == 25 and found["difference"] == pytest.approx(np.mean(differences))
    assert found["p"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert compare(first, first, dict.fromkeys(first, ""), "images")["p"] is None


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
    found = compare(first, dict.fromkeys(first, 0.0), dict.fromkeys(first, ""), "images")
    assert found["p"] == pytest.approx(expected) and found["count"] == 9


def test_holm_steps_down() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
