"""The three metrics that training watches, in one torchmetrics Metric that shares their statistics."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from crrn.image.similarity import moments, si_map, ssim_map
from crrn.metrics.psnr import psnr


class ImageQuality(Metric):
    """Mean SSIM, SI and PSNR of a layer over all images seen, on any number of devices.

    The mean is over images: batches of any sizes give what one batch of all would. Both images are clipped to [0, 1]
    first, and the sums are kept in double precision. Before any update the means are NaN.

    `update(estimate, target, known)` takes (N, C, H, W) with H, W >= 11 (else ValueError); images where `known` (N,)
    is false are left out, None counts all. `compute()` returns {"ssim": mean, "si": mean, "psnr": mean in dB}.
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

    def update(self, estimate: Tensor, target: Tensor, known: Tensor | None = None) -> None:
        estimate, target = estimate.clamp(0, 1), target.clamp(0, 1)
        statistics = moments(estimate, target)
        values = torch.stack(
            (
                ssim_map(statistics).flatten(1).mean(1),
                si_map(statistics).flatten(1).mean(1),
                psnr(estimate, target),
            )
        )
        if known is not None:
            values = torch.where(known, values, 0)
        self.sums += values.sum(1, dtype=torch.float64)
        self.count += len(estimate) if known is None else known.sum()

    def compute(self) -> dict[str, Tensor]:
        mean_ssim, mean_si, mean_psnr = (self.sums / self.count).unbind()
        return {"ssim": mean_ssim, "si": mean_si, "psnr": mean_psnr}
