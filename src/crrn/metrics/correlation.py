"""Normalised cross-correlation of images."""

from __future__ import annotations

import torch
from torch import Tensor


def ncc(x: Tensor, y: Tensor) -> Tensor:
    """NCC of each image: mean((x - mx)(y - my)) / (sx sy), means and deviations over all channels and pixels.

    Args:
        x: (N, C, H, W); any range, as a factor and an offset change nothing.
        y: the same shape.

    Returns:
        (N,) in [-1, 1], float64; NaN where an image is flat.
    """
    x, y = (image.double().flatten(1) for image in (x, y))
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return torch.linalg.vecdot(x, y) / (torch.linalg.vector_norm(x, dim=1) * torch.linalg.vector_norm(y, dim=1))
