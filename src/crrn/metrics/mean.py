"""From a value for each image to a torchmetrics Metric: the mean over images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric


class ImageMean(Metric):
    """The mean of a per-image value over all images seen, on any number of devices.

    The mean is over images, so batches of any sizes give what one batch of all would; sums are kept in double
    precision. An image without a value (NaN: an empty mask) is left out of the mean and counted in `skipped`. Before
    any value the mean is NaN.

    Example:
        >>> metric = ImageMean(psnr)
        >>> metric.update(estimate, target)     # both (N, 3, H, W)
        >>> metric.compute(), metric.skipped

    Args:
        value: (estimate, target, ...) to one value for each image (N,), such as `crrn.metrics.lmse`; a Module moves
            with the metric to its device.
    """

    full_state_update = False
    is_differentiable = False

    total: Tensor
    count: Tensor
    skipped: Tensor

    def __init__(self, value: Callable[..., Tensor]) -> None:
        super().__init__()
        self.value = value
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("skipped", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, *images: Tensor) -> None:
        values = self.value(*images).double()
        known = ~values.isnan()
        self.total += values[known].sum()
        self.count += known.sum()
        self.skipped += (~known).sum()

    def compute(self) -> Tensor:
        return self.total / self.count


def real(image: Tensor) -> Tensor:
    """The image in float32, or in float64 where it is already."""
    return image if image.dtype == torch.float64 else image.float()
