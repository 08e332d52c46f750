"""SSIM, SI and PSNR, each the mean of per-image values."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from crrn.image.similarity import moments, si_map, ssim_map

# A mean squared error below this counts as this: equal images have a PSNR of 100 dB, not infinity, so that means stay
# finite.
MSE_FLOOR = 1e-10


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio 10 log10(1 / MSE) in dB of each image, peak 1.

    Args:
        x: (N, C, H, W) in [0, 1].
        y: the same shape.

    Returns:
        (N,), at most 100 dB: the MSE has a floor of 1e-10 (our choice), which equal images reach.
    """
    error = (_real(x) - _real(y)).square().flatten(1).mean(1)
    return -10 * error.clamp(min=MSE_FLOOR).log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each image: the mean of `crrn.image.similarity.ssim_map` over channels and valid pixels.

    Args:
        x: (N, C, H, W) in [0, 1], H, W >= 11.
        y: the same shape.

    Returns:
        (N,) in [-1, 1].

    Raises:
        ValueError: an image is smaller than the 11x11 window.
    """
    return ssim_map(moments(x, y)).flatten(1).mean(1)


def si(x: Tensor, y: Tensor) -> Tensor:
    """Structure index of each image: the mean of `crrn.image.similarity.si_map`; arguments and result as of `ssim`."""
    return si_map(moments(x, y)).flatten(1).mean(1)


class ImageQuality(Metric):
    """Mean SSIM, SI and PSNR of a layer over all images seen, on any number of devices.

    The mean is over images: batches of any sizes give what one batch of all would. Both images are clipped to [0, 1]
    first, and the sums are kept in double precision. Before any update the means are NaN.

    `update(estimate, target)` takes (N, C, H, W) with H, W >= 11 (else ValueError); `compute()` returns
    {"ssim": mean, "si": mean, "psnr": mean in dB}.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    sums: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, estimate: Tensor, target: Tensor) -> None:
        estimate, target = estimate.clamp(0, 1), target.clamp(0, 1)
        statistics = moments(estimate, target)
        values = torch.stack(
            (
                ssim_map(statistics).flatten(1).mean(1),
                si_map(statistics).flatten(1).mean(1),
                psnr(estimate, target),
            )
        )
        self.sums += values.sum(1, dtype=torch.float64)
        self.count += len(estimate)

    def compute(self) -> dict[str, Tensor]:
        mean_ssim, mean_si, mean_psnr = (self.sums / self.count).unbind()
        return {"ssim": mean_ssim, "si": mean_si, "psnr": mean_psnr}


def _real(image: Tensor) -> Tensor:
    return image if image.dtype == torch.float64 else image.float()
