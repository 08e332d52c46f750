"""The three metrics that training reports, from statistics that they share."""

from __future__ import annotations

from torch import Tensor

from crrn.image.similarity import moments, si_map, ssim_map
from crrn.metrics.mean import ImageMeans, real
from crrn.metrics.psnr import psnr

QUALITY = ("ssim", "si", "psnr")
"""Names of what `quality` gives."""


def quality(estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
    """SSIM, SI and PSNR in dB of each image, after both images are clipped to [0, 1].

    Args:
        estimate: (N, C, H, W), H, W >= 11.
        target: the same shape.

    Returns:
        {"ssim", "si", "psnr"}, (N,) each.

    Raises:
        ValueError: the images are too small or differ in shape.
    """
    estimate, target = real(estimate).clamp(0, 1), real(target).clamp(0, 1)
    statistics = moments(estimate, target)
    return {
        "ssim": ssim_map(statistics).flatten(1).mean(1),
        "si": si_map(statistics).flatten(1).mean(1),
        "psnr": psnr(estimate, target),
    }


class ImageQuality(ImageMeans):
    """Mean SSIM, SI and PSNR of a layer over all images seen, on any number of devices; see `quality`.

    `update(estimate, target, known)` takes images (N, C, H, W); those where `known` (N,) is false are left out, None
    counts all. `compute()` returns {"ssim": mean, "si": mean, "psnr": mean in dB}, or nothing before any image.
    """

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(QUALITY)

    def update(self, estimate: Tensor, target: Tensor, known: Tensor | None = None) -> None:  # type: ignore[override]
        super().update(quality(estimate, target), known)
