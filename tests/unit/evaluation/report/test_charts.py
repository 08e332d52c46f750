"""Charts are well-formed SVG whose marks stand where their values are."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from crrn.evaluation.report.charts import Line, Strip, line_chart, smoothed, strip_chart, tick, ticks


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 600, 5, [0, 200, 400, 600]),
        (0.8098, 0.843, 5, [0.8, 0.81, 0.82, 0.83, 0.84, 0.85]),
        (-1.3, 5.7, 6, [-2, 0, 2, 4, 6]),
        (3, 3, 3, [0, 2, 4, 6]),
    ],
)
def test_ticks_are_round_and_cover_the_range(low: float, high: float, count: int, expected: list[float]) -> None:
    assert ticks(low, high, count) == pytest.approx(expected)


def test_ticks_cover_any_range() -> None:
    for low, high in ((0, 0), (-1e-9, 1e-9), (1e6, 1.1e6), (-5, -4.999)):
        found = ticks(low, high, 5)
        assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 12


def test_a_tick_has_as_many_decimals_as_needed() -> None:
    assert [tick(value, [0, 0.025, 0.05]) for value in (0, 0.025)] == ["0.000", "0.025"]
    assert (
        tick(-2, [-2, 0], signed=True) == "−2"
        and tick(2, [2], signed=True) == "+2"
        and tick(12000, [12000]) == "12\u202f000"
    )


def dots(svg: str, kind: str) -> list[tuple[float, float]]:
    circles = [node for node in ElementTree.fromstring(svg).iter("circle") if node.get("class", "").startswith(kind)]
    return [(float(node.get("cx", "")), float(node.get("cy", ""))) for node in circles]


def test_a_line_chart_is_linear_and_upright() -> None:
    svg = line_chart("a < b & c", "steps", [Line("run <1>", [(0, 1.0), (50, 2.0), (100, 3.0)], dots=True)])
    (x0, y0), (x1, y1), (x2, y2) = dots(svg, "dot")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11) and x0 < x1
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11) and y0 > y1 > y2
    assert "a < b & c" in "".join(ElementTree.fromstring(svg).itertext())


def test_a_strip_has_a_dot_an_image_and_its_mean() -> None:
    strip = Strip("ours", [("a", -1.0), ("b", 0.0), ("c", 4.0)], 1.0, -0.5, 2.5)
    svg = strip_chart(
        "gain", "dB", [("native", [strip]), ("crrn", [Strip("ours", [("a", 2.0)], 2.0, math.nan, math.nan)])]
    )
    images, means = dots(svg, "image"), dots(svg, "mean")
    assert len(images) == 4 and len(means) == 2
    (a, _), (b, _), (c, _), _ = images
    assert (c - b) / (b - a) == pytest.approx(4, abs=0.05) and means[0][0] == pytest.approx(b + (b - a), abs=0.11)
    intervals = [node for node in ElementTree.fromstring(svg).iter("path") if "interval" in node.get("class", "")]
    assert len(intervals) == 1


def test_smoothing_is_the_mean_of_neighbours() -> None:
    assert smoothed([(0, 0.0), (1, 3.0), (2, 6.0), (3, 0.0)], 3) == [(0, 1.5), (1, 3.0), (2, 3.0), (3, 3.0)]
