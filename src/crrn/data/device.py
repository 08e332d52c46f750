"""Decoded photos in a device's memory, and whole batches that are cropped, resized, flipped and rotated there.

It is the counterpart of the path through `crrn.data.resize` and `crrn.data.augment`, which works on one uint8 photo
after the other on the host. Both take the same geometry; their results differ by rounding alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crrn.data.plan import Geometry, Size
from crrn.data.resize import ANTIALIASED_ABOVE, crop_window, resizing
from crrn.data.threads import in_threads
from crrn.errors import DataError
from crrn.image.picture import Pixels

STEP = 32
"""The largest window of a batch is rounded up to a multiple of so many pixels, so that few shapes occur."""


class Cut(NamedTuple):
    """What to make of one photo on the device; all but the size are whole numbers or degrees.

    Attributes:
        number: of the photo among those that the device keeps.
        window: top, left, height and width of what is cut out, in pixels.
        flip: whether it is flipped left to right.
        angle: degrees by which it is rotated counterclockwise.
        size: (height, width) to which the window is resized.
    """

    number: int
    window: tuple[int, int, int, int]
    flip: bool
    angle: float
    size: Size


class Cuts(NamedTuple):
    """The cuts of a batch, on their way to the device or there.

    Attributes:
        table: float32 (N, 7): number, top, left, height, width, flip, angle. Whole numbers below 2^24 are exact.
        size: (height, width) of all results.
        extent: rows and columns that hold each window.
        rotated: whether any angle is not 0.
    """

    table: Tensor
    size: Size
    extent: Size
    rotated: bool


class StoredPhoto(NamedTuple):
    """A photo that the device keeps."""

    number: int
    height: int
    width: int

    def cut(self, size: Size, geometry: Geometry) -> Cut:
        """What a geometry makes of it."""
        window = (0, 0, self.height, self.width)
        if geometry.scale is not None:
            rows, columns = crop_window((self.height, self.width), size, geometry.scale, geometry.position)
            window = (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        return Cut(self.number, window, geometry.flip, geometry.angle, size)


def stacked_cuts(cuts: Sequence[Cut]) -> Cuts:
    """The cuts of a batch, which all have one size."""
    rows = [(cut.number, *cut.window, cut.flip, cut.angle) for cut in cuts]
    height, width = (-(-max(cut.window[side] for cut in cuts) // STEP) * STEP for side in (2, 3))
    table = torch.from_numpy(np.array(rows, dtype=np.float32))
    return Cuts(table, cuts[0].size, (height, width), any(cut.angle for cut in cuts))


def joined(batches: Sequence[Cuts]) -> Cuts:
    """Several batches of cuts of one size as one."""
    height, width = (max(batch.extent[side] for batch in batches) for side in (0, 1))
    table = torch.cat([batch.table for batch in batches])
    return Cuts(table, batches[0].size, (height, width), any(batch.rotated for batch in batches))


class DevicePhotos:
    """Photos on a device: uint8, one after the other in one flat buffer, whatever their sizes.

    Args:
        sizes: (height, width) of each photo.
        device: where they are kept.

    Raises:
        DataError: the device has not enough memory.
    """

    def __init__(self, sizes: Sequence[Size], device: torch.device) -> None:
        self.device = device
        self.sizes = list(sizes)
        self._starts = [0, *itertools.accumulate(height * width for height, width in self.sizes)]
        try:
            self._pixels = torch.empty(self._starts[-1], 3, dtype=torch.uint8, device=device)
        except RuntimeError as error:
            raise DataError(
                f"{device} has no memory for {len(self.sizes)} photos ({3 * self._starts[-1] / 1e9:.1f} GB): set "
                "data.loading.cache=true, which keeps them in the computer's memory."
            ) from error
        self._start = torch.tensor(self._starts[:-1], device=device)
        self._stride = torch.tensor([width for _, width in self.sizes], device=device)

    @property
    def bytes(self) -> int:
        """The memory of the photos."""
        return self._pixels.nbytes

    def fill(self, reads: Iterable[Callable[[], Pixels]], strict: bool = True) -> list[StoredPhoto | DataError]:
        """Decode all photos in threads and keep them.

        Args:
            reads: gives each photo, uint8 (height, width, 3) of its size, or raises a DataError.
            strict: raise such an error.

        Returns:
            Each photo's place, or the error that stands for it.
        """
        found: list[StoredPhoto | DataError] = []
        for number, photo in enumerate(in_threads(_attempt, reads)):
            if isinstance(photo, DataError):
                if strict:
                    raise photo
                found.append(photo)
                continue
            part = slice(self._starts[number], self._starts[number + 1])
            pixels = np.require(photo, requirements=["C", "W"]).reshape(-1, 3)
            self._pixels[part] = torch.from_numpy(pixels).to(self.device)
            found.append(StoredPhoto(number, *self.sizes[number]))
        return found

    def cut(self, cuts: Cuts) -> Tensor:
        """Crop, resize, flip and rotate a batch of photos; nothing here waits for the device.

        The resizing is that of `crrn.data.resize.resize`: a triangle filter as wide as the shrinking asks where a side
        shrinks by more than 1.5, plain bilinear interpolation elsewhere. The rotation is bilinear, with a border that
        continues the image by reflection.

        Args:
            cuts: with the table on this device.

        Returns:
            (N, 3, height, width), float32 in [0, 1].
        """
        number, top, left, height, width, flip, angle = cuts.table.unbind(1)
        rows, columns = (
            torch.minimum(torch.arange(extent, device=self.device), side.long()[:, None] - 1) + start.long()[:, None]
            for extent, side, start in zip(cuts.extent, (height, width), (top, left), strict=True)
        )
        photo = number.long()
        lines = self._start[photo][:, None] + rows * self._stride[photo][:, None]
        pixels = self._pixels[lines[:, :, None] + columns[:, None, :]].float()  # (N, rows, columns, 3)

        shrink = torch.stack((height / cuts.size[0], width / cuts.size[1]), dim=1)
        blur = torch.where(shrink.amax(1, keepdim=True) > ANTIALIASED_ABOVE, shrink.clamp(min=1), 1.0)
        down = resizing(height, blur[:, 0], cuts.extent[0], cuts.size[0])
        across = resizing(width, blur[:, 1], cuts.extent[1], cuts.size[1])
        across = torch.where(flip.bool()[:, None, None], across.flip(1), across)
        images = torch.bmm(down, pixels.flatten(2)).unflatten(2, (-1, 3))  # (N, H, columns, 3)
        images = torch.bmm(images.permute(0, 3, 1, 2).flatten(1, 2), across.mT).unflatten(1, (3, -1))
        return (rotated(images, angle) if cuts.rotated else images).div_(255)


def rotated(images: Tensor, angle: Tensor) -> Tensor:
    """Rotate each image about its centre, bilinearly; the border continues it by reflection.

    Args:
        images: (N, C, H, W), H and W at least 2.
        angle: (N,), degrees, counterclockwise.

    Returns:
        (N, C, H, W), new memory.
    """
    height, width = images.shape[-2:]
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=images.device)[None] - (width - 1) / 2
    radians = torch.deg2rad(angle)[:, None, None]
    sine, cosine = radians.sin(), radians.cos()
    # Where each pixel comes from; grid_sample's coordinates run from -1 to 1 between the centres of the outermost ones.
    grid = torch.stack(((cosine * x - sine * y) * (2 / (width - 1)), (sine * x + cosine * y) * (2 / (height - 1))), -1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=True)


def _attempt(read: Callable[[], Pixels]) -> Pixels | DataError:
    try:
        return read()
    except DataError as error:
        return error.with_traceback(None)
