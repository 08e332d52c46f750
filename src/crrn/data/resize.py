"""Windows of photos, and their resizing to the size of a batch: photo by photo, and as weights for a whole batch."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crrn.image.picture import Pixels

ANTIALIASED_ABOVE = 1.5
"""A photo of which a side shrinks by more than this is filtered; elsewhere plain interpolation hardly aliases."""


def fitted(full: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) to which a photo of the size ``full`` shrinks so that it still covers ``size``."""
    factor = min(full[0] / size[0], full[1] / size[1])
    return (full[0], full[1]) if factor <= 1 else (round(full[0] / factor), round(full[1] / factor))


def crop_window(
    full: tuple[int, ...], size: tuple[int, int], scale: float, position: tuple[float, float]
) -> tuple[slice, slice]:
    """The rows and columns of a window of the aspect ratio of ``size`` in a photo of the size ``full``.

    Args:
        full, size: (height, width).
        scale: the window's sides as a share, in (0, 1], of those of the largest such window.
        position: where it lies, in [0, 1] from top to bottom and from left to right.
    """
    factor = scale * min(full[0] / size[0], full[1] / size[1])
    sides = [min(whole, max(1, round(side * factor))) for whole, side in zip(full, size, strict=False)]
    starts = [round(at * (whole - side)) for at, whole, side in zip(position, full, sides, strict=False)]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return rows, columns


def resize(photo: Pixels, size: tuple[int, int]) -> Pixels:
    """Squeeze a photo (h, w, 3) to ``size`` = (height, width)."""
    height, width = photo.shape[:2]
    if (height, width) == size:
        return photo
    if max(height / size[0], width / size[1]) > ANTIALIASED_ABOVE:
        # A triangle filter as wide as the shrinking asks, the same as PIL's bilinear one to a level, in a fifth of the
        # time of that or of OpenCV's area averaging.
        pixels = torch.from_numpy(np.require(photo, requirements="W"))[None].permute(0, 3, 1, 2)
        small = F.interpolate(pixels, size, mode="bilinear", antialias=True)
        return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())
    # Elsewhere plain interpolation takes half of that.
    return np.asarray(cv2.resize(photo, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def resizing(length: Tensor, blur: Tensor, extent: int, size: int) -> Tensor:
    """The weights with which each pixel of a resized line takes those of a line.

    Args:
        length: (N,), how many of the ``extent`` pixels belong to the line; those behind get no weight.
        blur: (N,), half the width of the triangle filter, in pixels of the line; 1 interpolates.
        extent: pixels of a line in memory.
        size: pixels of the resized line.

    Returns:
        (N, size, extent); each row sums to 1.
    """
    centres = (torch.arange(size, device=length.device) + 0.5) * (length / size)[:, None]
    places = torch.arange(extent, device=length.device) + 0.5
    weights = (1 - (places - centres[..., None]).abs() / blur[:, None, None]).clamp_(min=0)
    weights *= places < length[:, None, None]
    return weights / weights.sum(2, keepdim=True)
