"""Normalised cross-correlation of images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from crrn.metrics.mean import real

FLAT = 1e-6
"""An image whose deviation is not above this share of its mean is flat: so much is rounding in float32."""

CHUNK = 2**17
"""Values of each image that are handled at once on a CPU: few enough to stay in the cache."""


def ncc(x: Tensor, y: Tensor) -> Tensor:
    """NCC of each image: mean((x - mx)(y - my)) / (sx sy), means and deviations over all channels and pixels.

    Differences from the means and their products are taken in float32 (float64 if given so), and summed in chunks,
    these in double precision.

    Args:
        x: (N, C, H, W); any range, as a factor and an offset change nothing.
        y: the same shape.

    Returns:
        (N,) in [-1, 1], float64; NaN where an image is flat.
    """
    x, y = real(x).flatten(1), real(y).flatten(1)
    size = x.shape[1]
    chunk = CHUNK if x.device.type == "cpu" else size
    means = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    sums = torch.zeros(3, len(x), dtype=torch.float64, device=x.device)
    for parts in zip(x.split(chunk, 1), y.split(chunk, 1), strict=True):
        a, b = (part - mean for part, mean in zip(parts, means, strict=True))
        sums += torch.stack([(first * second).sum(1) for first, second in ((a, a), (b, b), (a, b))])
    deviations = (sums[:2] / size).sqrt()
    flat = deviations <= FLAT * torch.cat(means, dim=1).t().abs()
    return sums[2] / size / deviations.masked_fill(flat, math.nan).prod(0)
