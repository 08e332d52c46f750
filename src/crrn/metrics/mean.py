"""From a value for each image to a torchmetrics Metric: the mean over images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

WITHOUT_DOUBLE = ("mps",)
"""Devices that have no float64."""


class ImageMeans(Metric):
    """Means over images of several named values of each image, on any number of devices.

    The values of all images are kept, and averaged in double precision (in float32 on a device without float64). So
    batches of any sizes and any number of devices give what one batch of all would.

    Args:
        names: the values' names.
    """

    full_state_update = False
    is_differentiable = False

    values: list[Tensor]

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.add_state("values", [], dist_reduce_fx="cat")

    def update(self, values: Mapping[str, Tensor], known: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            values: (N,) of each name.
            known: (N,) bool; images where it is false are left out. None: all count.
        """
        columns = [values[name].float() for name in self.names]
        counted = torch.ones_like(columns[0]) if known is None else known.to(columns[0])
        self.values.append(torch.stack((counted, *columns), dim=1))

    def compute(self) -> dict[str, Tensor]:
        """The mean of each name; nothing where no image was counted."""
        rows = double(dim_zero_cat(self.values))
        rows = rows[rows[:, 0] > 0, 1:]
        return dict(zip(self.names, rows.mean(0).unbind(), strict=True)) if len(rows) else {}


class ImageMean(Metric):
    """The mean of a per-image value over all images seen, on any number of devices.

    The mean is over images, so batches of any sizes give what one batch of all would; it is taken in double precision.
    An image without a value (NaN: an empty mask) is left out of the mean and counted in `skipped`. Before any value the
    mean is NaN.

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

    values: list[Tensor]

    def __init__(self, value: Callable[..., Tensor]) -> None:
        super().__init__()
        self.value = value
        self.add_state("values", [], dist_reduce_fx="cat")

    def update(self, *images: Tensor) -> None:
        self.values.append(self.value(*images))

    def compute(self) -> Tensor:
        return double(dim_zero_cat(self.values)).nanmean()

    @property
    def skipped(self) -> int:
        """Images without a value so far, on this device."""
        return sum(int(values.isnan().sum()) for values in self.values)


def real(image: Tensor) -> Tensor:
    """The image in float32, or in float64 where it is already."""
    return image if image.dtype == torch.float64 else image.float()


def double(values: Tensor) -> Tensor:
    """The values in float64, or in float32 where the device has no float64."""
    return values.float() if values.device.type in WITHOUT_DOUBLE else values.double()
