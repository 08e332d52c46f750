"""Forward differences, their divergence, and the five-point Laplacian."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Border = Literal["circular", "replicate"]
"""How an image goes on beyond its right and bottom border: with its left and top, or with the border pixel."""


def differences(image: Tensor, border: Border) -> tuple[Tensor, Tensor]:
    """Forward differences x[i, j + 1] - x[i, j] and x[i + 1, j] - x[i, j].

    Args:
        image: (..., H, W), any H, W >= 1.
        border: "circular" takes the last difference to the first pixel, "replicate" makes it 0.

    Returns:
        Differences along W and along H, each of the image's shape.
    """
    return _difference(image, -1, border), _difference(image, -2, border)


def divergence(dx: Tensor, dy: Tensor, border: Border) -> Tensor:
    """The divergence of a field, minus the adjoint of `differences` with the same border.

    Args:
        dx, dy: (..., H, W), along W and along H; with "replicate" their last column and last row must be 0, as
            `differences` leaves them.
        border: as in `differences`.

    Returns:
        (..., H, W).
    """
    result = dx + dy
    if border == "circular":
        return result.sub_(dx.roll(1, -1)).sub_(dy.roll(1, -2))
    result[..., 1:] -= dx[..., :-1]
    result[..., 1:, :] -= dy[..., :-1, :]
    return result


def laplacian(image: Tensor, out: Tensor | None = None) -> Tensor:
    """Sum of the four neighbours minus four times the pixel, zero beyond the border.

    Args:
        image: (..., H, W), any H, W >= 1.
        out: where to write the result.

    Returns:
        (..., H, W). The operator is symmetric.
    """
    return add_neighbours(torch.mul(image, -4, out=out), image)


def add_neighbours(result: Tensor, image: Tensor) -> Tensor:
    """Adds each pixel's four neighbours in ``image`` to ``result``, in place, zero beyond the border; both
    (..., H, W)."""
    result[..., 1:, :] += image[..., :-1, :]
    result[..., :-1, :] += image[..., 1:, :]
    result[..., 1:] += image[..., :-1]
    result[..., :-1] += image[..., 1:]
    return result


def _difference(image: Tensor, dim: int, border: Border) -> Tensor:
    if border == "circular":
        return image.roll(-1, dim) - image
    result = torch.empty_like(image)
    inner = result.shape[dim] - 1
    torch.sub(image.narrow(dim, 1, inner), image.narrow(dim, 0, inner), out=result.narrow(dim, 0, inner))
    result.narrow(dim, inner, 1).zero_()
    return result
