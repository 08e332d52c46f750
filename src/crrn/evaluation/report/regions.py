"""Close-ups: the places of a picture that a person should look at, chosen by what is seen there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from crrn.image.picture import Pixels

Map = NDArray[np.float64]

SHARE = 0.3
"""A close-up's side, as a share of the picture's shorter side."""


class Region(NamedTuple):
    """A square of a picture, in pixels."""

    top: int
    left: int
    side: int


def close_ups(mixture: Pixels, estimates: Sequence[Pixels], background: Pixels | None, count: int = 2) -> list[Region]:
    """Squares that do not overlap, the most telling first.

    Where the background is known, the first is where the reflection is strongest: the largest local standard deviation
    of the luma of I - B. The others, and all without ground truth, are where the removers differ most: the largest
    mean, over the removers, of the local standard deviation of each one's deviation from their mean. A standard
    deviation, as a uniform veil is seen anywhere. Where nothing differs there is no close-up. Our choice.

    Args:
        mixture, estimates, background: uint8 (H, W, 3) of one size; the mixture counts as an estimate.
    """
    height, width = mixture.shape[:2]
    side = min(height, width, max(16, round(SHARE * min(height, width))))
    lumas = np.stack([luma(photo) for photo in (mixture, *estimates)])
    disagreement = np.mean([structure(deviation, side) for deviation in lumas - lumas.mean(axis=0)], axis=0)
    scores = [disagreement] * count
    if background is not None:
        scores[0] = structure(lumas[0] - luma(background), side)
    half = side // 2
    inside = np.zeros((height, width), dtype=bool)
    inside[half : height - (side - half) + 1, half : width - (side - half) + 1] = True
    chosen: list[Region] = []
    for score in scores:
        y, x = np.unravel_index(int(np.argmax(np.where(inside, score, -1.0))), score.shape)
        if not inside[y, x] or score[y, x] < 1e-6:
            break
        chosen.append(Region(int(y) - half, int(x) - half, side))
        inside[max(0, y - side + 1) : y + side, max(0, x - side + 1) : x + side] = False
    return chosen


def luma(photo: Pixels) -> Map:
    """(H, W) in [0, 1] of an 8-bit photo."""
    weighted: Map = photo.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) / 255
    return weighted


def structure(image: Map, side: int) -> Map:
    """The standard deviation within the square around each pixel."""
    mean, square = uniform_filter(image, side), uniform_filter(image * image, side)
    return np.sqrt(np.maximum(square - mean * mean, 0))
