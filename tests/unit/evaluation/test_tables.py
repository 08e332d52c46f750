"""Tables as text."""

from __future__ import annotations

from crrn.evaluation.tables import Grid


def test_columns_of_numbers_are_aligned_right() -> None:
    rows = [
        ["a", "0.81 ± 0.02", "[-0.1, +0.2]", "< 0.001", "12", "ab3", "–"],
        ["1", "–", "", "0.01", "1,000", "2", "−3.5"],
    ]
    grid = Grid("title", list("abcdefg"), rows)
    assert grid.numeric() == [False, True, True, True, True, False, True]
    assert "|---|---:|---:|---:|---:|---|---:|" in grid.markdown().splitlines()
