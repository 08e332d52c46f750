"""The loss of CRRN (paper Eq. 7) as one would put it together from the libraries of the field.

Each brings its SSIM and its Gaussian filter, with which SI is written out (paper Eq. 6); both over the valid region of
the window of 11x11, sigma 1.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Measure = Callable[[Tensor, Tensor], Tensor]
"""Of two images (N, C, H, W), one number."""

Loss = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""Of background, reflection and gradient, estimated and true."""

SIZE, SIGMA = 11, 1.5


def pytorch_msssim() -> tuple[Measure, Measure]:
    """SSIM and SI: the filter is two one-dimensional depthwise convolutions."""
    from pytorch_msssim import ssim
    from pytorch_msssim.ssim import gaussian_filter

    window = gaussian()[None, None, None]
    return (
        lambda x, y: ssim(x, y, data_range=1.0, win_size=SIZE, win_sigma=SIGMA),
        si_with(lambda image: gaussian_filter(image, window.to(image).repeat(image.shape[1], 1, 1, 1))),
    )


def kornia() -> tuple[Measure, Measure]:
    """SSIM and SI: the filter pads, so the border is cropped."""
    from kornia.filters import gaussian_blur2d
    from kornia.metrics import ssim

    return (
        lambda x, y: ssim(x, y, SIZE, padding="valid").mean(),
        si_with(lambda image: inner(gaussian_blur2d(image, (SIZE, SIZE), (SIGMA, SIGMA)))),
    )


def torchmetrics() -> tuple[Measure, Measure]:
    """SSIM and SI: the filter is one two-dimensional depthwise convolution; SSIM pads, so its map is cropped."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    window = torch.outer(gaussian(), gaussian())

    def blur(image: Tensor) -> Tensor:
        channels = image.shape[1]
        return F.conv2d(image, window.to(image).expand(channels, 1, -1, -1), groups=channels)

    return (
        lambda x, y: inner(ssim(x, y, sigma=SIGMA, data_range=1.0, return_full_image=True)[1]).mean(),
        si_with(blur),
    )


def eq_7(ssim: Measure, si: Measure) -> Loss:
    """0.8 (1 - SSIM) + L1 of the background, 1 - SSIM of the reflection, 1 - SI of the gradient, all summed."""

    def loss(estimate: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        (b, b_true), (r, r_true), (g, g_true) = zip(estimate, target, strict=True)
        background = 0.8 * (1 - ssim(b, b_true)) + F.l1_loss(b, b_true)
        return background + (1 - ssim(r, r_true)) + (1 - si(g, g_true))

    return loss


def si_with(blur: Callable[[Tensor], Tensor]) -> Measure:
    """SI with a given filter."""

    def si(x: Tensor, y: Tensor) -> Tensor:
        mx, my = blur(x), blur(y)
        variances = blur(x * x) - mx * mx + blur(y * y) - my * my
        covariance = blur(x * y) - mx * my
        return ((2 * covariance + 0.03**2) / (variances + 0.03**2)).mean()

    return si


def gaussian() -> Tensor:
    """The window in one dimension, of sum 1."""
    t = torch.arange(SIZE) - SIZE // 2
    row = torch.exp(-0.5 * (t / SIGMA).square())
    return row / row.sum()


def inner(images: Tensor) -> Tensor:
    """Without the border where the window does not fit."""
    border = SIZE // 2
    return images[..., border:-border, border:-border]
