"""SSIM and SI, which share their local statistics (paper Eq. 3 and 6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crrn.image.filters import filter_separable, gaussian_kernel

WINDOW = 11
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


class Moments(NamedTuple):
    """Gaussian-weighted local means of two images, each (N, C, H - 10, W - 10)."""

    x: Tensor
    y: Tensor
    squares: Tensor
    """Mean of x^2 + y^2."""
    product: Tensor
    """Mean of x y."""


def common_dtype(x: Tensor, y: Tensor) -> torch.dtype:
    """In which two images are compared: float32, or float64 where one is; ValueError where their shapes differ."""
    if x.shape != y.shape:
        raise ValueError(f"images of shapes {tuple(x.shape)} and {tuple(y.shape)} cannot be compared")
    return torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)


def moments(x: Tensor, y: Tensor) -> Moments:
    """The local statistics of two images, per channel: 11x11 Gaussian window, sigma 1.5, valid region.

    SSIM and SI need the variances only as their sum, so four filtered maps suffice.

    Args:
        x: (N, C, H, W) in [0, 1], H, W >= 11; computed in float32, or in float64 if given so, also under autocast.
        y: the same shape.

    Raises:
        ValueError: the images differ in shape, or are smaller than the window.
    """
    dtype = common_dtype(x, y)
    x, y = x.to(dtype).contiguous(), y.to(dtype).contiguous()
    maps = torch.cat((x, y, x * x + y * y, x * y))
    means = filter_separable(maps, gaussian_kernel(WINDOW, SIGMA, dtype, x.device))
    return Moments(*means.chunk(4))


def ssim_map(moments: Moments) -> Tensor:
    """(2 mx my + C1)(2 cov + C2) / ((mx^2 + my^2 + C1)(var_x + var_y + C2)), C1 = 0.01^2, C2 = 0.03^2 (paper Eq. 3).

    Returns:
        (N, C, H - 10, W - 10), 1 where the images agree.
    """
    product = moments.x * moments.y
    squares = moments.x * moments.x + moments.y * moments.y
    luminance = (2 * product + C1) / (squares + C1)
    return luminance * (2 * (moments.product - product) + C2) / (moments.squares - squares + C2)


def si_map(moments: Moments) -> Tensor:
    """(2 cov + c) / (var_x + var_y + c), c = 0.03^2: SSIM without its luminance factor (paper Eq. 6).

    Returns:
        (N, C, H - 10, W - 10), 1 where the images agree up to their means.
    """
    covariance = moments.product - moments.x * moments.y
    variances = moments.squares - moments.x * moments.x - moments.y * moments.y
    return (2 * covariance + C2) / (variances + C2)
