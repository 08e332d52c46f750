"""Overlapping tiles: where they lie and how they are blended."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from crrn.nets.gin import MULTIPLE

BLENDED = 0.25
"""The middle part of an overlap in which one tile fades into the next; outside of it a tile is context only."""


@dataclass(frozen=True)
class Window:
    """What one tile covers along one axis.

    Attributes:
        start, stop: the pixels that the remover sees; `start` is a multiple of 32.
        weight: the weight of each of these pixels in the result, in [0, 1]. The weights of a pixel sum to 1 over all
            windows of an axis.
    """

    start: int
    stop: int
    weight: Tensor

    @property
    def used(self) -> slice:
        """The pixels of the image that it contributes to."""
        return slice(self.start + self.inner.start, self.start + self.inner.stop)

    @property
    def inner(self) -> slice:
        """The same, counted from `start`."""
        (where,) = self.weight.nonzero(as_tuple=True)
        return slice(int(where[0]), int(where[-1]) + 1)


def windows(size: int, tile: int, overlap: int) -> list[Window]:
    """Cover an axis of `size` pixels by windows of at most `tile`, neighbours sharing `overlap` or more.

    Windows start on multiples of 32, the networks' coarsest grid. A pixel then has the same place on the grid as in the
    whole image. In the middle quarter of the overlap, one window is blended into the next by a smoothstep.
    """
    if size <= tile:
        return [Window(0, size, torch.ones(size))]
    count = max(2, math.ceil((size - overlap - MULTIPLE) / (tile - overlap - MULTIPLE)))
    span = size - tile
    starts = [int(number * span / (count - 1)) // MULTIPLE * MULTIPLE for number in range(count - 1)]
    starts.append(-(-span // MULTIPLE) * MULTIPLE)
    stops = [min(start + tile, size) for start in starts]
    x = torch.arange(size) + 0.5
    rises = [torch.ones(size)]
    for start, stop in zip(starts[1:], stops[:-1], strict=True):
        t = ((x - (start + stop) / 2) / (BLENDED * overlap) + 0.5).clamp_(0, 1)
        rises.append(t * t * (3 - 2 * t))
    rises.append(torch.zeros(size))
    return [
        Window(start, stop, (rises[n] - rises[n + 1])[start:stop])
        for n, (start, stop) in enumerate(zip(starts, stops, strict=True))
    ]


def tile_size(height: int, width: int, pixels: float, overlap: int) -> tuple[int, int]:
    """The height and width of tiles that cover an image with few of them.

    A tile has at most `pixels` pixels. Its sides are at least `smallest(overlap)`, and at most the image's.
    """
    side = max(smallest(overlap), int(math.sqrt(max(pixels, 1))) // MULTIPLE * MULTIPLE)
    rows = _evened(height, side, overlap)
    columns = max(side, int(pixels / rows) // MULTIPLE * MULTIPLE)
    return rows, _evened(width, columns, overlap)


def smallest(overlap: int) -> int:
    """The smallest side of a tile, a multiple of 32: its overlap and 192 pixels more."""
    return -(-(overlap + 6 * MULTIPLE) // MULTIPLE) * MULTIPLE


def _evened(size: int, tile: int, overlap: int) -> int:
    """The smallest tile that needs no more windows than `tile` does."""
    if size <= tile:
        return size
    step = tile - overlap - MULTIPLE
    count = max(2, math.ceil((size - overlap - MULTIPLE) / step))
    even = overlap + MULTIPLE + math.ceil((size - overlap - MULTIPLE) / count)
    return min(tile, -(-even // MULTIPLE) * MULTIPLE)
