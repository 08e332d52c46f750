"""Colour spaces."""

from __future__ import annotations

import torch
from torch import Tensor

# IEC 61966-2-1: linear sRGB to CIE XYZ, each row divided by the D65 white point (0.95047, 1, 1.08883).
_XYZ_OVER_WHITE = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)


def rgb_to_lab(image: Tensor) -> Tensor:
    """sRGB to CIE L*a*b*, D65 white, 2 degree observer.

    Args:
        image: (N, 3, H, W), sRGB in [0, 1], floating point; values outside are clamped.

    Returns:
        (N, 3, H, W): L* in [0, 100], a* and b* about in [-110, 110].
    """
    image = image.clamp(0, 1)
    linear = torch.where(image > 0.04045, ((image + 0.055) / 1.055).pow(2.4), image / 12.92)
    xyz = torch.einsum("ij,njhw->nihw", image.new_tensor(_XYZ_OVER_WHITE), linear)
    x, y, z = torch.where(xyz > 0.008856, xyz.pow(1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)
