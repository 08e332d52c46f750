"""What follows from measured times: epochs and samples that end within the budget and waste little of it."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from crrn.cli.train import refuse_given_lengths, seconds_of
from crrn.errors import ConfigError
from crrn.training.budget import SAMPLES, Lengths, StageTimes, divided, fit_lengths


def duration(lengths: Lengths, times: dict[str, StageTimes], batch_size: int, spent: float, every: int = 1) -> float:
    """Seconds that such a run takes, step by step."""
    seconds = spent
    for name, epochs in lengths.epochs.items():
        seconds += times[name].rest
        for epoch in range(epochs):
            seconds += times[name].batch * (lengths.samples_per_epoch // batch_size)
            if (epoch + 1) % every == 0 or epoch + 1 == epochs:
                seconds += times[name].validation
    return seconds


def test_the_papers_stages_in_ten_minutes():
    times = {"gin": StageTimes(0.01, 0.5, 2), "joint": StageTimes(0.04, 1.0, 3)}
    lengths = fit_lengths(600, 30, times, {"gin": 0.25, "joint": 0.75}, most_epochs=120, batch_size=16)
    # 570 s less 30 s and 5 s; a tenth of it for validations of .25 x .5 + .75 x 1 = .875 s: 61 epochs, 15 of them GiN's
    assert lengths.epochs == {"gin": 15, "joint": 46}
    # 535 s less 53.5 s of validations, in epochs of which one batch each takes .15 s + 1.84 s: 241 batches
    assert lengths.samples_per_epoch == 241 * 16


@pytest.mark.parametrize("seed", range(50))
def test_a_run_ends_within_its_budget_and_uses_it(seed):
    rng = random.Random(seed)
    names = ["gin", "joint", "third"][: rng.randint(1, 3)]
    times = {name: StageTimes(rng.uniform(1e-3, 0.2), rng.uniform(0, 3), rng.uniform(0, 5)) for name in names}
    weights = {name: rng.uniform(0.2, 1) for name in names}
    seconds, spent, batch, accumulate, every = (
        rng.uniform(200, 900),
        rng.uniform(0, 50),
        8,
        rng.randint(1, 3),
        rng.randint(1, 4),
    )
    lengths = fit_lengths(seconds, spent, times, weights, 40, batch, accumulate, every)
    took = duration(lengths, times, batch, spent, every)
    one_step = accumulate * sum(number * times[name].batch for name, number in lengths.epochs.items())
    assert 0.95 * seconds - one_step <= took <= 0.95 * seconds + 1e-6
    assert lengths.samples_per_epoch % (batch * accumulate) == 0
    epochs = sum(lengths.epochs.values())
    assert len(names) <= epochs <= 40
    for name, number in lengths.epochs.items():
        assert abs(number - weights[name] / sum(weights.values()) * epochs) <= 1 or number == 1


def test_more_time_is_never_fewer_samples():
    times = {"gin": StageTimes(0.01, 0.5, 2), "joint": StageTimes(0.04, 1.0, 3)}
    totals = []
    for seconds in range(60, 3600, 60):
        lengths = fit_lengths(seconds, 20, times, {"gin": 1, "joint": 3}, 120, 4)
        totals.append(sum(lengths.epochs.values()) * lengths.samples_per_epoch)
    assert all(b >= 0.97 * a for a, b in pairwise(totals)) and totals[-1] > 30 * totals[0]


@pytest.mark.parametrize(
    ("total", "shares", "parts"),
    [
        (4, {"a": 0.25, "b": 0.75}, {"a": 1, "b": 3}),
        (120, {"a": 0.25, "b": 0.75}, {"a": 30, "b": 90}),
        (7, {"a": 2 / 7, "b": 5 / 7}, {"a": 2, "b": 5}),
        (3, {"a": 0.01, "b": 0.99}, {"a": 1, "b": 2}),
        (2, {"a": 0.01, "b": 0.99}, {"a": 1, "b": 1}),
        (5, {"a": 1.0}, {"a": 5}),
    ],
)
def test_epochs_keep_the_proportions(total, shares, parts):
    assert divided(total, shares) == parts


def test_too_short_a_budget_says_how_much_is_needed():
    times = {"joint": StageTimes(2.0, 30, 10)}
    with pytest.raises(
        ConfigError, match=r"budget=40s is too short.*5 s are over.*take 40 s.*2\.0 s; give budget=50s"
    ) as told:
        fit_lengths(40, 5, times, {"joint": 1}, 8, 16)
    assert str(told.value).count(". ") == 0
    assert fit_lengths(50, 5, times, {"joint": 1}, 8, 16) == Lengths({"joint": 1}, 16)


def test_lengths_as_settings():
    settings = Lengths({"gin": 1, "joint": 3}, 128).settings()
    assert settings == {"stages.gin.epochs": 1, "stages.joint.epochs": 3, SAMPLES: 128}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10min", 600), ("2h", 7200), ("1.5h", 5400), ("10 min", 600), (None, None)]
)
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["600", "ten", "10m", "-5s", "0s", "", "1h30min", 600, math.inf])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match=r"budget=.* is not a time.*10min"):
        seconds_of(text)


@pytest.mark.parametrize(
    "override",
    [
        "stages.joint.epochs=3",
        "+stages.joint.epochs=3",
        "stages.joint={epochs: 3}",
        "stages={joint: {epochs: 3}}",
        "data.batches.samples_per_epoch=9",
        "data={batches: {samples_per_epoch: 9}}",
    ],
)
def test_a_length_given_by_hand_is_refused(override):
    with pytest.raises(ConfigError, match="both set the length of the run"):
        refuse_given_lengths(["budget=10min", override])


def test_other_settings_go_with_a_budget():
    refuse_given_lengths(
        ["budget=10min", "stages=joint", "stages.joint.learning_rate=1e-3", "~logger", "stages.joint.share=1"]
    )
