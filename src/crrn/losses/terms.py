"""The terms of the loss beside SSIM and SI, each a function of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TERMS = ("ssim", "si", "l1", "mse", "derivative_l1", "multiscale_l1")
"""Of an estimate x and its target y, each a mean over all pixels: 1 - SSIM(x, y); 1 - SI(x, y); |x - y|; (x - y)^2;
|d(x - y)| along W plus that along H, d the forward differences inside the image; |x - y| at several scales."""

SCALES = 4
"""Scales of `multiscale_l1`: 1, 1/2, 1/4 and 1/8 (our choice)."""

EXCLUSION_SCALES = 3
"""Scales of `exclusion`, as published."""
EXCLUSION_FLOOR = 1e-8
"""Added to squared gradients in `exclusion` (our choice), so that flat layers have finite derivatives."""

LIGHT_FLOOR = 1e-8
"""Light below this counts as this in `reconstruction` (our choice): the root has no finite derivative at 0. In gamma
2.2 it is a seventeenth of a level of 8 bits."""


def derivative_l1(error: Tensor) -> Tensor:
    """Mean |forward difference| along W plus that along H, of an error (N, C, H, W); 0 along a side of one pixel."""
    slopes = [error.diff(dim=dim).abs().mean() for dim in (-1, -2) if error.shape[dim] > 1]
    return torch.stack(slopes).sum() if slopes else 0 * error.sum()


def multiscale_l1(error: Tensor) -> Tensor:
    """Mean over `SCALES` scales of the mean |error|, the error (N, C, H, W) averaged over blocks of 1, 2, 4, 8 pixels.

    Errors of brightness count at each scale, errors of detail at the finest alone. Losses at several scales are those
    of Nah et al. (CVPR 2017) and Qian et al. (CVPR 2018), whose networks have an output for each scale; the scales of
    one output are ours, all of one weight. Pixels at the border that fill no block are left out of that scale, and
    scales that are larger than the image altogether.
    """
    values = [error.abs().mean()]
    for _ in range(SCALES - 1):
        if min(error.shape[-2:]) < 2:
            break
        error = F.avg_pool2d(error, 2)
        values.append(error.abs().mean())
    return torch.stack(values).mean()


def exclusion(background: Tensor, reflection: Tensor) -> Tensor:
    """How much the gradients of the two layers coincide: at an edge of the background, the reflection should have none.

    This is the exclusion loss of Zhang et al. (CVPR 2018), which ERRNet (Wei et al., CVPR 2019) uses too. It is
    computed for each image, each of `EXCLUSION_SCALES` scales (2x2 means) and each direction. It is the root mean
    square, over pixels and channels, of

        tanh(l |dB|) tanh(|dR| / l),    l = (||dR|| / ||dB||)^(1/2)

    where d are forward differences and l balances layers of unequal contrast. The value is the mean over images, scales
    and directions. Each image counts by itself, so the ranks of a distributed run agree. `EXCLUSION_FLOOR` is added
    under squares and roots (our choice), so that a layer without edges costs 0 and has derivatives.

    Args:
        background: (N, C, H, W).
        reflection: the same shape.

    Returns:
        A scalar in [0, 1]; 0 where one of the layers is flat.
    """
    values = []
    for scale in range(EXCLUSION_SCALES):
        if scale:
            if min(background.shape[-2:]) < 2:
                break
            background, reflection = F.avg_pool2d(background, 2), F.avg_pool2d(reflection, 2)
        for dim in (-1, -2):
            if background.shape[dim] > 1:
                values.append(_coincidence(background.diff(dim=dim), reflection.diff(dim=dim)))
    return torch.stack(values).mean() if values else 0 * (background.sum() + reflection.sum())


def _coincidence(background: Tensor, reflection: Tensor) -> Tensor:
    """The mean over images of the root mean square of the balanced product, of two gradients (N, C, H, W)."""
    pixels = (1, 2, 3)
    energy = [gradient.square().mean(pixels, keepdim=True) + EXCLUSION_FLOOR for gradient in (background, reflection)]
    balance = (energy[1] / energy[0]) ** 0.25
    product = (balance * background).tanh() * (reflection / balance).tanh()
    root = (product.square().mean(pixels) + EXCLUSION_FLOOR).sqrt() - EXCLUSION_FLOOR**0.5
    return root.mean()


def reconstruction(background: Tensor, reflection: Tensor, mixture: Tensor, formation: Tensor | None) -> Tensor:
    """Mean |I' - I|, where I' = clip(((a B)^g + R^g)^(1/g)) is the mixture of the two estimated layers.

    Other works use the sum of the gamma-coded layers, such as Zhang et al., CVPR 2018, and IBCLN, CVPR 2020. The
    formula of each mixture in place of a sum is our choice. Rows without a formula are zero. The mean divides by the
    whole batch, so that the ranks of a distributed run agree.

    Args:
        background: B, (N, 3, H, W); values below 0 count as 0.
        reflection: R, the same.
        mixture: I, in [0, 1].
        formation: (N, 2), g and a of each row, NaN in rows without a formula; None: no row has one.

    Returns:
        A scalar.
    """
    if formation is None:
        formation = mixture.new_full((len(mixture), 2), torch.nan)
    known = formation.isfinite().all(1)
    # Unknown rows are computed with harmless numbers: a product of NaN and zero would still be NaN.
    gamma, gain = (torch.where(known, column, 1).view(-1, 1, 1, 1) for column in formation.to(background).unbind(1))
    known = known.view(-1, 1, 1, 1)
    background, reflection = (torch.where(known, layer, 0).clamp(min=0) for layer in (background, reflection))
    light = (gain * background) ** gamma + reflection**gamma
    formed = light.clamp(min=LIGHT_FLOOR) ** (1 / gamma)
    return torch.where(known, (formed.clamp(max=1) - mixture).abs(), 0).mean()
