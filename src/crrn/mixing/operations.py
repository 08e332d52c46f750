"""Operations on batches of photos whose strength differs from image to image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crrn.image.filters import filter_separable, gaussian_kernel

SIDE = 224
"""The short side, in pixels, at which lengths in pixels are given; they grow in proportion with the image's."""


def length_scale(images: Tensor) -> float:
    """How many pixels of ``images`` (N, C, H, W) one pixel at a short side of 224 is."""
    return min(images.shape[-2:]) / SIDE


def row_index(rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """The numbers of some rows, on a device, without waiting for it."""
    return torch.from_numpy(rows).to(device, non_blocking=True)


def change_rows(
    images: Tensor, switch: NDArray[np.int64], change: Callable[[Tensor, Tensor | slice], Tensor]
) -> Tensor:
    """Compute some images anew; the others cost next to nothing.

    Args:
        images: (N, C, H, W).
        switch: (N,), on the host, not 0 for the images that change.
        change: gives the new images for the images that change and their rows.

    Returns:
        (N, C, H, W); ``images`` itself where nothing changes.
    """
    rows = np.flatnonzero(np.asarray(switch))
    if len(rows) == 0:
        return images
    if len(rows) == len(images):
        return change(images, slice(None))
    index = row_index(rows, images.device)
    return images.index_copy(0, index, change(images.index_select(0, index), index))


def blurred(images: Tensor, sigma: Tensor, radius: int, own_radius: Tensor | None = None) -> Tensor:
    """Blur each image by a Gaussian of its own width; the border continues the image by reflection.

    Args:
        images: (N, C, H, W), H and W above ``radius``.
        sigma: (N,), standard deviation in pixels, positive.
        radius: the windows end so many pixels from their centre.
        own_radius: (N,), a smaller radius for each image.

    Returns:
        (N, C, H, W), new memory.
    """
    window = gaussian_kernel(2 * radius + 1, sigma.to(images))
    if own_radius is not None:
        distance = torch.arange(-radius, radius + 1, device=images.device).abs()
        window = window * (distance <= own_radius.to(images)[:, None])
        window = window / window.sum(1, keepdim=True)
    return filter_separable(images, window, border="reflect")


def power(images: Tensor, exponent: Tensor | float) -> Tensor:
    """Raise images to a power.

    Args:
        images: (N, C, H, W), 0 or more.
        exponent: (N, 1, 1, 1), or a number for all; from 1/4 to 4.

    Returns:
        (N, C, H, W), new memory; within 2e-7 of the power for values up to 1.
    """
    if images.device.type != "cpu":
        return images.pow(exponent)
    # On a CPU these take two thirds of the time of `pow`. But the logarithm of 0 takes eight times that of other
    # values.
    return images.clamp(min=torch.finfo(images.dtype).tiny).log2_().mul_(exponent).exp2_()


def power_(images: Tensor, exponent: Tensor | float) -> Tensor:
    """As `power`, in place."""
    if images.device.type != "cpu":
        return images.pow_(exponent)
    return images.clamp_(min=torch.finfo(images.dtype).tiny).log2_().mul_(exponent).exp2_()


def mean_excess(first: Tensor, second: Tensor, dim: tuple[int, ...]) -> Tensor:
    """By how much the sum of two batches exceeds 1, over ``dim``: the mean of all values above 1, less 1.

    Returns:
        The mean with ``dim`` kept as 1; 0 where no value exceeds 1.
    """
    # In place wherever a result is not needed again: on a CPU, fresh memory costs more than the arithmetic.
    excess = (first + second).sub_(1).clamp_(min=0)
    total = excess.sum(dim, keepdim=True)
    return total / excess.sign_().sum(dim, keepdim=True).clamp(min=1)


def shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Move each image by a vector of its own, bilinearly; the border continues the image by its outermost pixels.

    Args:
        images: (N, C, H, W), H and W at least 2.
        shift: (N, 2), dx to the right and dy down, in pixels.

    Returns:
        (N, C, H, W), new memory.
    """
    height, width = images.shape[-2:]
    dx, dy = shift.to(images).split(1, dim=1)
    # grid_sample's coordinates run from -1 to 1 between the centres of the outermost pixels.
    x = torch.linspace(-1, 1, width, dtype=images.dtype, device=images.device) - dx * (2 / (width - 1))
    y = torch.linspace(-1, 1, height, dtype=images.dtype, device=images.device) - dy * (2 / (height - 1))
    grid = torch.stack((x[:, None].expand(-1, height, -1), y[..., None].expand(-1, -1, width)), dim=-1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=True)


def soft_region(field: Tensor, level: Tensor, steepness: Tensor, height: int, width: int) -> Tensor:
    """A smooth region: sigmoid(steepness * (field - level)), the field enlarged by bicubic interpolation.

    Args:
        field: (N, n, n), the field at a few points.
        level: (N,), where the region's border runs.
        steepness: (N,), how sharp the border is.
        height, width: size of the result.

    Returns:
        (N, 1, height, width) in [0, 1].
    """
    # The interpolation is linear and separable: along either axis a matrix, which enlarging its identity gives. The two
    # products take a fraction of the time of an interpolation in two dimensions.
    identity = torch.eye(len(field[0]), dtype=field.dtype, device=field.device)[None, None]
    rows, columns = (F.interpolate(identity, (size, identity.shape[-1]), mode="bicubic")[0] for size in (height, width))
    enlarged = (rows @ field @ columns.mT)[:, None]
    return enlarged.sub_(level.view(-1, 1, 1, 1)).mul_(steepness.view(-1, 1, 1, 1)).sigmoid_()
