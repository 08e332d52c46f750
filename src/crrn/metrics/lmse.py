"""Local mean squared error: each window may be scaled (Grosse 2009, as the reflection literature uses it)."""

from __future__ import annotations

import torch
from torch import Tensor

from crrn.metrics.mean import real

WINDOW, STRIDE = 20, 10
ENERGY_FLOOR = 1e-5
"""A window of the estimate whose sum of squares, pixels in [0, 255], is not above this is not scaled but set to
zero."""


def lmse(estimate: Tensor, target: Tensor) -> Tensor:
    """sum_w min_a ||y_w - a x_w||^2 / sum_w ||y_w||^2 of each image: windows of 20x20, stride 10, each channel by
    itself.

    a = (x . y) / (x . x), or 0 where x . x <= 1e-5 for pixels in [0, 255]. A window that would reach over the border is
    left out. Sums are taken once over blocks of 10x10, those of ten pixels in float32 (float64 if given so), then in
    double precision; a window is four blocks.

    Args:
        estimate: x, (N, C, H, W) in [0, 1], H, W >= 20.
        target: y, the same shape.

    Returns:
        (N,) in [0, 1], float64; NaN where the target is black.

    Raises:
        ValueError: the images are smaller than a window.
    """
    if min(target.shape[-2:]) < WINDOW:
        raise ValueError(
            f"an image of {target.shape[-2]}x{target.shape[-1]} is too small for LMSE's window of {WINDOW}"
        )
    x, y = real(estimate), real(target)
    xx, yy, xy = _window_sums(x * x), _window_sums(y * y), _window_sums(x * y)
    explained = torch.where(xx * 255**2 > ENERGY_FLOOR, xy * xy / xx, 0)
    return (yy - explained).clamp(min=0).flatten(1).sum(1) / yy.flatten(1).sum(1)


def slmse(estimate: Tensor, target: Tensor) -> Tensor:
    """sLMSE = 1 - LMSE; higher is better. Arguments and result as of `lmse`."""
    return 1 - lmse(estimate, target)


def _window_sums(image: Tensor) -> Tensor:
    height, width = (side // STRIDE * STRIDE for side in image.shape[-2:])
    rows = image[..., :height, :width].unflatten(-2, (-1, STRIDE)).sum(-2)
    blocks = rows.unflatten(-1, (-1, STRIDE)).sum(-1, dtype=torch.float64)
    blocks = blocks[..., 1:, :] + blocks[..., :-1, :]
    return blocks[..., 1:] + blocks[..., :-1]
