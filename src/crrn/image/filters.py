"""Gaussian kernels and separable filtering."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_kernel(
    size: int,
    sigma: float | Tensor,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Samples of exp(-t^2 / (2 sigma^2)) at t = -(size-1)/2 .. (size-1)/2, divided by their sum.

    Args:
        size: number of samples; an odd one is centred on a pixel.
        sigma: standard deviation in pixels, positive; a number, or a tensor (N,) with one value for each kernel.
        dtype, device: of the result; a tensor's own where sigma is one.

    Returns:
        (size,), or (N, size) for a tensor.
    """
    if not isinstance(sigma, Tensor):
        sigma = torch.full((), sigma, dtype=dtype, device=device)
    t = torch.arange(size, dtype=sigma.dtype, device=sigma.device) - (size - 1) / 2
    kernel = torch.exp(-0.5 * (t / sigma[..., None]).square())
    return kernel / kernel.sum(-1, keepdim=True)


def filter_separable(image: Tensor, kernel: Tensor, border: Literal["valid", "reflect"] = "valid") -> Tensor:
    """Correlate every channel with one kernel along H, then along W.

    Computed in the image's own precision, also under autocast.

    Args:
        image: (N, C, H, W), floating point.
        kernel: (K,), K odd, for all images, or (N, K), one for each image.
        border: "valid" keeps the pixels whose window lies inside; "reflect" continues the image by reflection without
            repeating the border pixel (H, W > K // 2) and keeps the size.

    Returns:
        (N, C, H - K + 1, W - K + 1) for "valid", (N, C, H, W) for "reflect".

    Raises:
        ValueError: K is even, or the image is too small for the window or the border.
    """
    size = kernel.shape[-1]
    height, width = image.shape[-2:]
    if size % 2 == 0:
        raise ValueError(f"a kernel of {size} samples has no centre: give an odd number")
    smallest = size if border == "valid" else size // 2 + 1
    if min(height, width) < smallest:
        raise ValueError(
            f"an image of {height}x{width} is too small for a window of {size}: both sides need {smallest} pixels"
        )
    if border == "reflect":
        image = F.pad(image, (size // 2,) * 4, mode="reflect")
    # All planes become channels of one image: depthwise convolutions are fastest there, and each may have its own
    # kernel.
    batch, channels, height, width = image.shape
    planes = batch * channels
    weight = (
        kernel.to(image.dtype).expand(batch, size)[:, None].expand(batch, channels, size).reshape(planes, 1, size, 1)
    )
    with torch.autocast(image.device.type, enabled=False):
        result = F.conv2d(image.reshape(1, planes, height, width), weight, groups=planes)
        result = F.conv2d(result, weight.transpose(2, 3), groups=planes)
    return result.view(batch, channels, *result.shape[-2:])
