"""Close-ups show what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from crrn.evaluation.report.regions import Region, close_ups


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 100, dtype=np.uint8)


def marked(photo: np.ndarray, top: int, left: int, size: int = 10) -> np.ndarray:
    changed = photo.copy()
    changed[top : top + size, left : left + size] = 220
    return changed


def holds(region: Region, top: int, left: int, size: int = 10) -> bool:
    return (
        region.top <= top
        and region.left <= left
        and region.top + region.side >= top + size
        and region.left + region.side >= left + size
    )


def test_the_reflection_first_then_where_removers_differ() -> None:
    background = grey(100, 140)
    mixture = marked(background, 70, 20)
    first, second = close_ups(mixture, [mixture, marked(mixture, 10, 100)], background)
    assert holds(first, 70, 20) and holds(second, 10, 100)


def test_without_ground_truth_where_removers_differ() -> None:
    photo = grey(140, 100)
    first, *_ = close_ups(photo, [marked(photo, 100, 60), photo], None)
    assert holds(first, 100, 60)


def test_a_uniform_veil_is_no_place() -> None:
    assert close_ups(grey(60, 80), [grey(60, 80) + np.uint8(50)], None) == []


@pytest.mark.parametrize("shape", [(20, 20), (16, 300), (101, 67), (280, 450)])
def test_close_ups_lie_inside_and_apart(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(4)]
    regions = close_ups(photos[0], photos[1:3], photos[3])
    assert regions
    for top, left, side in regions:
        assert 0 <= top <= shape[0] - side and 0 <= left <= shape[1] - side and side >= 16
    if len(regions) == 2:
        a, b = regions
        assert abs(a.top - b.top) >= a.side or abs(a.left - b.left) >= a.side
