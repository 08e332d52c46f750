"""Races, their tables and their files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from crrn.allocator import peak_memory, reset_peak_memory
from crrn.bench import machine, race
from crrn.bench.bench import Bench
from crrn.bench.race import Times, check, largest_difference, measure
from crrn.bench.report import COMPARED, cells, changes, read, rows, write
from crrn.bench.results import Line, readable, readable_seconds
from crrn.errors import RunError


class Clock:
    """A clock that only contestants move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        monkeypatch.setattr(race.time, "perf_counter", lambda: self.now)

    def contestant(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.now += seconds

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_contestants_take_turns_there_and_back(clock: Clock):
    contestants = {name: clock.contestant(name, seconds) for name, seconds in (("a", 1), ("b", 2), ("c", 3))}
    times = measure(contestants, "a", repetitions=3, seconds=60, shortest=0)
    assert "".join(clock.calls[3:]) == "abccbaabc"  # after a first call of each
    assert times.seconds == {"a": [1, 1, 1], "b": [2, 2, 2], "c": [3, 3, 3]}


def test_a_race_ends_when_its_time_is_over_but_not_before_three_repetitions(clock: Clock):
    for seconds, repetitions in ((1, 3), (45, 5), (1000, 50)):
        times = measure({"a": clock.contestant("a", 10)}, "a", repetitions=50, seconds=seconds)
        assert len(times.seconds["a"]) == repetitions


def test_a_fast_contestant_is_called_often_enough_to_be_timed(clock: Clock):
    times = measure({"a": clock.contestant("a", 0.25)}, "a", repetitions=1, seconds=1, shortest=1.0)
    assert len(clock.calls) == 1 + 4
    assert times.seconds["a"] == [0.25]


def test_cpu_time_leaves_out_what_a_contestant_waits(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    spent = iter([0, 1, *range(1, 100)])  # a second of each call
    monkeypatch.setattr(race.time, "process_time", lambda: next(spent))
    times = measure({"a": clock.contestant("a", 5)}, "a", repetitions=3, seconds=60, shortest=0, cpu_time=True)
    assert times.seconds["a"] == [1, 1, 1]


def test_the_ratio_is_paired_by_repetition():
    bench = Bench("suite")
    bench.report("title", Times("slow", {"slow": [2.0, 20.0, 2.0], "crrn": [1.0, 4.0, 1.0]}), targets={"crrn": 3})
    slow, ours = bench.lines
    assert slow.ratio is None and slow.reached is None
    assert ours.ratio is not None and ours.ratio.median == 2 and ours.ratio.high == 3.5  # of 2, 5, 2
    assert ours.reached is False and "missed" in cells(ours)


def test_times_and_items():
    bench = Bench("suite")
    bench.report("title", Times("a", {"a": [0.08, 0.08, 0.08]}), items=8, unit="sample")
    assert "10.0 ms / sample" in cells(bench.lines[0]) and "100 samples/s" in cells(bench.lines[0])


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        (torch.tensor([1.0, 2.0]), np.array([1.0, 2.5]), 0.5),
        ({"a": 1.0, "b": (2, [3])}, {"a": 1.0, "b": (2, [3.25])}, 0.25),
        (np.array([3], np.uint8), np.array([5], np.uint8), 2.0),
        (torch.zeros(2), torch.zeros(3), math.inf),
        ({"a": 1.0}, {"b": 1.0}, math.inf),
        ((1.0,), (1.0, 2.0), math.inf),
        (1.0, math.nan, math.inf),
        (None, None, 0.0),
    ],
)
def test_largest_difference(first, second, difference):
    assert largest_difference(first, second) == difference


def test_contestants_that_disagree_are_not_raced():
    with pytest.raises(RunError, match=r"^title: .*crrn .*other .*0\.5"):
        check("title", {"other": lambda: 1.0, "crrn": lambda: 1.5}, "other", 0.1)
    assert check("title", {"other": lambda: 1.0, "crrn": lambda: 1.5}, "other", 0.5) == {"other": 0, "crrn": 0.5}


def test_what_cannot_be_compared_is_raced_all_the_same():
    bench = Bench("suite", repetitions=3, seconds=0.1)
    ways = {"other": lambda: 1.0, "crrn": lambda: 1.0, "crrn, more": lambda: 2.0}
    with pytest.raises(RunError, match="crrn, more"):
        bench.race("title", ways, reference="other", tolerance=0)
    bench.race("title", ways, reference="other", tolerance=0, incomparable=["crrn, more"])
    assert [line.difference for line in bench.lines] == [None, 0, None]
    assert all(len(line.samples) == 3 for line in bench.lines)


def test_figures_keep_bounds_on_either_side():
    bench = Bench("suite")
    bench.figure("share", [1.0, 2.0, 6.0], "%", at_most=3)
    bench.figure("throughput", 5.0, "images/s", at_least=6)
    bench.figure("memory", 1.5, "GB")
    assert [line.reached for line in bench.lines] == [True, False, None]
    assert [str(line.target) for line in bench.lines[:2]] == ["≤ 3", "≥ 6"]
    assert "1.50 – 4.00" in cells(bench.lines[0])


def test_a_title_stands_in_its_first_row_only():
    bench = Bench("suite")
    bench.report("title", Times("a", {"a": [1.0], "b": [1.0]}))
    assert [row[0] for row in rows(bench.lines)] == ["title", ""]


def results(factor: float) -> list[Line]:
    bench = Bench("suite")
    bench.report("title", Times("slow", {"slow": [4.0 * factor], "crrn": [2.0]}))
    bench.figure("memory", 2.0 * factor, "GB", at_most=3)
    return bench.lines


def test_results_are_written_read_back_and_compared(tmp_path: Path):
    record = {**machine.circumstances(), "settings": {"compare": None}, "shell": "python -m src.bench suite=[loss]"}
    write(tmp_path, record, results(1.0))
    assert read(tmp_path) == read(tmp_path / "metrics.json") == results(1.0)
    text = (tmp_path / "README.md").read_text()
    assert "python -m src.bench suite=[loss]" in text and "| title | slow (reference) | 4.00 s" in text
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["machine"]["cores"] == len(os.sched_getaffinity(0)) and values["versions"]["torch"]
    assert values["lines"][1]["ratio"]["median"] == 2 and values["lines"][2]["reached"] is True

    found = changes(results(1.0), results(0.5))
    assert len(found[0]) == len(COMPARED)
    assert [row[4] for row in found] == ["-50%", "+0%", "-50%"]
    assert found[1][5:] == ("2.00×", "1.00×")


def test_what_is_no_earlier_result_is_refused(tmp_path: Path):
    (tmp_path / "other.json").write_text('{"val/ssim": 1}')
    with pytest.raises(RunError, match=r"other\.json"):
        read(tmp_path / "other.json")
    with pytest.raises(RunError, match=r"missing\.json"):
        read(tmp_path / "missing.json")


def grow(size: int) -> float:
    """What a process of its own holds more at its peak than before, in bytes."""
    before = reset_peak_memory()
    array = np.ones(size, np.uint8)
    del array
    return peak_memory() - before


@pytest.mark.slow
def test_peak_memory_of_a_fresh_process():
    assert machine.in_fresh_process(grow, 64_000_000) == pytest.approx(64e6, rel=0.1)


def test_a_failing_process_tells_why():
    with pytest.raises(RunError, match=r"sqrt\(-1,\) .*ValueError"):
        machine.in_fresh_process(math.sqrt, -1)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.01234, "0.0123"), (12.34, "12.3"), (1234.5, "1,234")])
def test_readable_numbers(value, text):
    assert readable(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.50 s"), (0.0123, "12.3 ms"), (4.2e-6, "4.20 µs"), (5e-9, "5.00 ns")]
)
def test_readable_seconds(seconds, text):
    assert readable_seconds(seconds) == text
