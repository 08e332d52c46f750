"""Charts as SVG: curves of training, and each image's gain. They take their colours from the page that holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 400, 46, 18, 30, 34
"""Of a chart, in its own units; text is 11 to 13 units high."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        label: what the legend calls it; "" is not in the legend.
        points: (x, y), x ascending.
        colour: the page's series colour, from 0; -1 is grey, for references.
        kind: "line", "faint" or "dashed".
        dots: whether each point has a dot with its value.
    """

    label: str
    points: Points
    colour: int = 0
    kind: str = "line"
    dots: bool = False


@dataclass(frozen=True)
class Strip:
    """A row of a strip chart: one dot an image, their mean and its interval.

    Attributes:
        label: the row's name.
        values: (image, value).
        mean, low, high: of all images; NaN where there is no interval.
        colour: as of `Line`.
    """

    label: str
    values: Sequence[tuple[str, float]]
    mean: float
    low: float
    high: float
    colour: int = 0


def line_chart(title: str, x_label: str, lines: Sequence[Line], height: int = 250, digits: int = 3) -> str:
    """Curves over one x axis; a legend below the title."""
    lines = [line for line in lines if line.points]
    named = [line for line in lines if line.label]
    top = TOP + 6 + 16 * math.ceil(len(named) / 2)
    bottom = height - BOTTOM
    x_ticks = ticks(0, max(x for line in lines for x, _ in line.points), 5)
    values = [y for line in lines for _, y in line.points]
    y_ticks = ticks(min(values), max(values), 5)
    x_low, x_high = 0.0, max(x_ticks[-1], max(x for line in lines for x, _ in line.points))
    y_low, y_high = min(y_ticks[0], *values), max(y_ticks[-1], *values)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x_low) / ((x_high - x_low) or 1) * (WIDTH - LEFT - RIGHT),
            bottom - (y - y_low) / ((y_high - y_low) or 1) * (bottom - top),
        )

    parts = [_title(title)]
    for number, line in enumerate(named):
        left, level = LEFT + (number % 2) * 175, TOP + 12 + 16 * (number // 2)
        parts.append(
            f'<path class="{line.kind} {_series(line.colour)}" d="M{left} {level - 4}h18"/>'
            f'<text class="key" x="{left + 24}" y="{level}">{escape(line.label)}</text>'
        )
    for value in y_ticks:
        y = at(0, value)[1]
        parts.append(f'<path class="grid" d="M{LEFT} {_n(y)}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{_n(y + 4)}" text-anchor="end">{tick(value, y_ticks)}</text>'
        )
    for value in x_ticks:
        x = at(value, y_low)[0]
        parts.append(
            f'<text class="tick" x="{_n(x)}" y="{bottom + 16}" text-anchor="middle">{tick(value, x_ticks)}</text>'
        )
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{height - 3}" text-anchor="end">{escape(x_label)}</text>')
    for line in lines:
        places = [at(x, y) for x, y in line.points]
        path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in places)
        parts.append(f'<path class="{line.kind} {_series(line.colour)}" d="{path}"/>')
        if line.dots:
            parts += [
                f'<circle class="dot {_series(line.colour)}" cx="{_n(x)}" cy="{_n(y)}" r="3">'
                f"<title>{value:.{digits}f}</title></circle>"
                for (x, y), (_, value) in zip(places, line.points, strict=True)
            ]
    return _svg(parts, height, title)


def strip_chart(title: str, unit: str, groups: Sequence[tuple[str, Sequence[Strip]]], digits: int = 4) -> str:
    """Rows of dots over one x axis, grouped, with a line at zero."""
    row, heading = 20, 24
    height = TOP + sum(heading + row * len(strips) for _, strips in groups) + BOTTOM + 6
    bottom = height - BOTTOM
    left = 104
    values = [0.0, *(value for _, strips in groups for strip in strips for _, value in strip.values)]
    x_ticks = ticks(min(values), max(values), 6)
    low, high = min(x_ticks[0], *values), max(x_ticks[-1], *values)

    def at(value: float) -> float:
        return left + (value - low) / ((high - low) or 1) * (WIDTH - left - RIGHT)

    parts = [_title(title)]
    for value in x_ticks:
        kind = "zero" if value == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{_n(at(value))} {TOP + 6}V{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{_n(at(value))}" y="{bottom + 16}" text-anchor="middle">'
            f"{tick(value, x_ticks, signed=True)}</text>"
        )
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{height - 3}" text-anchor="end">{escape(unit)}</text>')
    y = TOP
    for name, strips in groups:
        y += heading
        parts.append(f'<text class="group" x="0" y="{y - 4}">{escape(name)}</text>')
        for strip in strips:
            middle, series = y + row / 2, _series(strip.colour)
            parts.append(
                f'<text class="key" x="{left - 10}" y="{_n(middle + 4)}" text-anchor="end">{escape(strip.label)}</text>'
            )
            parts += [
                f'<circle class="image {series}" cx="{_n(at(value))}" cy="{_n(middle)}" r="2.6">'
                f"<title>{escape(image)} {value:+.{digits}f}</title></circle>"
                for image, value in strip.values
            ]
            if not math.isnan(strip.low):
                parts.append(
                    f'<path class="interval {series}" d="M{_n(at(strip.low))} {_n(middle)}H{_n(at(strip.high))}"/>'
                )
            parts.append(
                f'<circle class="mean {series}" cx="{_n(at(strip.mean))}" cy="{_n(middle)}" r="4.5">'
                f"<title>{escape(strip.label)}: mean {strip.mean:+.{digits}f}</title></circle>"
            )
            y += row
    return _svg(parts, height, title)


def smoothed(points: Points, width: int = 5) -> list[tuple[float, float]]:
    """Each point's mean with its neighbours, fewer at the ends."""
    half = width // 2
    return [
        (
            x,
            math.fsum(y for _, y in points[max(0, n - half) : n + half + 1])
            / len(points[max(0, n - half) : n + half + 1]),
        )
        for n, (x, _) in enumerate(points)
    ]


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers over a range, the outermost at or beyond its ends."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def tick(value: float, others: Sequence[float], signed: bool = False) -> str:
    """A tick's number, with as many decimals as all of them need."""
    decimals = next(n for n in range(13) if all(abs(round(other, n) - other) < 1e-9 for other in others))
    text = f"{value:+,.{decimals}f}" if signed and value else f"{value:,.{decimals}f}"
    return text.replace("-", "−").replace(",", "\u202f")


def _svg(parts: Sequence[str], height: int, title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _title(title: str) -> str:
    return f'<text class="title" x="0" y="14">{escape(title)}</text>'


def _series(colour: int) -> str:
    return "grey" if colour < 0 else f"s{colour % 6}"


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
