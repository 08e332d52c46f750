"""The image gradient that GiN sees and predicts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


def gradient_magnitude(image: Tensor) -> Tensor:
    """Sobel gradient magnitude of an image's luma: min(1, sqrt(gx^2 + gy^2)).

    gx and gy are the unnormalised 3x3 Sobel derivatives (weights 1 2 1 across, -1 0 1 along) of 0.299 R + 0.587 G +
    0.114 B, the border replicated. An unnormalised Sobel of a [0, 1] image reaches 5.7; clipping to [0, 1], the range
    of GiN's sigmoid, is our choice.

    Args:
        image: (N, 3, H, W), any H, W >= 1, floating point, nominally in [0, 1].

    Returns:
        (N, 1, H, W) in [0, 1], of the image's dtype. Differentiable; the gradient of a flat region is 0, not NaN.
    """
    # Sums of slices, not a convolution: faster on one channel, and autocast leaves them in the image's precision.
    red, green, blue = LUMA
    luma = red * image[:, 0:1] + green * image[:, 1:2] + blue * image[:, 2:3]
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    gx = rows[..., 2:] - rows[..., :-2]
    gy = columns[..., 2:, :] - columns[..., :-2, :]
    dtype = torch.promote_types(image.dtype, torch.float32)  # squares of half precision would underflow
    square = gx.to(dtype).square() + gy.to(dtype).square()
    # The square root of 0 has an infinite derivative: such pixels take that of 1, and are then 0, as is their gradient.
    flat = square == 0
    magnitude = square.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)
    return magnitude.clamp(max=1).to(image.dtype)
