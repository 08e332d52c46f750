"""Sparse weighted least squares on an image's derivatives: conjugate gradients on a multigrid, nothing assembled."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SMOOTHING = 0.7
"""Damping of the Jacobi steps."""

STIFFNESS = 0.6
"""Factor of each coarser level's weights: blocks of constant value make a level too stiff, by 2 for smooth errors.
This compromise needed the fewest iterations on photos (our choice)."""


class WeightedLaplacian:
    """The operator sum over pairs of neighbours of w (x_i - x_j)^2, one for each plane, and a V-cycle for it.

    Levels halve the sides; a coarse pixel is a block of 2x2, whose weight to the next is the sum of those between.
    Each level takes one damped Jacobi step before and one after. The cycle is symmetric and definite up to constants.

    Args:
        wx, wy: (..., H, W - 1) and (..., H - 1, W), positive: the weights along W and along H.
    """

    def __init__(self, wx: Tensor, wy: Tensor) -> None:
        self.wx, self.wy = wx, wy
        self.diagonal = wx.new_zeros((*wx.shape[:-1], wx.shape[-1] + 1))
        for weight, dim in ((wx, -1), (wy, -2)):
            size = weight.shape[dim]
            self.diagonal.narrow(dim, 0, size).add_(weight)
            self.diagonal.narrow(dim, 1, size).add_(weight)
        self.step = torch.where(self.diagonal > 0, SMOOTHING / self.diagonal, 0)
        self.residual = torch.empty_like(self.diagonal)
        height, width = self.diagonal.shape[-2:]
        self.coarser: WeightedLaplacian | None = None
        if max(height, width) > 2:
            self.coarser = WeightedLaplacian(_paired(wx[..., 1::2], -2), _paired(wy[..., 1::2, :], -1))

    def cycle(self, rhs: Tensor) -> Tensor:
        """One V-cycle from 0: about the x for which the operator gives `rhs`, (..., H, W) of sum 0."""
        x = rhs * self.step
        if self.coarser is None:
            for _ in range(4):
                self._relax(x, rhs)
            return x
        self._residual_of(x, rhs)
        coarse = self.coarser.cycle(_block_sums(self.residual))
        for target, source in _blocks(x, coarse):
            target += source
        self._relax(x, rhs)
        return x

    def _relax(self, x: Tensor, rhs: Tensor) -> None:
        self._residual_of(x, rhs)
        x.addcmul_(self.step, self.residual)

    def _residual_of(self, x: Tensor, rhs: Tensor) -> None:
        residual = torch.addcmul(rhs, self.diagonal, x, value=-1, out=self.residual)
        residual[..., 1:].addcmul_(self.wx, x[..., :-1])
        residual[..., :-1].addcmul_(self.wx, x[..., 1:])
        residual[..., 1:, :].addcmul_(self.wy, x[..., :-1, :])
        residual[..., :-1, :].addcmul_(self.wy, x[..., 1:, :])


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    rhs: Tensor,
    start: Tensor,
    precondition: Callable[[Tensor], Tensor],
    tolerance: float,
    iterations: int,
) -> Tensor:
    """Solve operator(x) = rhs in each plane; both are symmetric and definite up to constants.

    Args:
        operator, precondition: linear, from (..., H, W) to the same shape, plane by plane.
        rhs: (..., H, W), each plane's sum 0.
        start: where to begin, of the same shape.
        tolerance: stop when every plane's residual is this small beside `rhs`, in the preconditioner's norm.
        iterations: stop after so many at the latest.

    Returns:
        x, (..., H, W), the mean of each plane 0.
    """
    x = start.clone()
    residual = rhs - operator(x)
    z = precondition(residual)
    direction = z.clone()
    size, goal = _dot(residual, z), tolerance**2 * _dot(rhs, precondition(rhs))
    for _ in range(iterations):
        if (size <= goal).all():
            break
        image = operator(direction)
        curvature = _dot(direction, image)
        length = torch.where(curvature > 0, size / curvature, 0)
        x.addcmul_(length, direction)
        residual.addcmul_(length, image, value=-1)
        z = precondition(residual)
        before, size = size, _dot(residual, z)
        direction.mul_(torch.where(before > 0, size / before, 0)).add_(z)
        direction -= direction.mean((-2, -1), keepdim=True)
    return x - x.mean((-2, -1), keepdim=True)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum((-2, -1), keepdim=True)


def _paired(weights: Tensor, dim: int) -> Tensor:
    """Sums of neighbours 0 + 1, 2 + 3, ... along `dim`, a last single one alone."""
    first, second = (weights[..., k::2, :] if dim == -2 else weights[..., k::2] for k in (0, 1))
    result = first * STIFFNESS
    result.narrow(dim, 0, second.shape[dim]).add_(second, alpha=STIFFNESS)
    return result


def _blocks(fine: Tensor, coarse: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each of the four places in a block the fine pixels there and the coarse pixels that have one there."""
    corners: Sequence[tuple[int, int]] = list(itertools.product((0, 1), repeat=2))
    parts = [fine[..., i::2, j::2] for i, j in corners]
    return [(part, coarse[..., : part.shape[-2], : part.shape[-1]]) for part in parts]


def _block_sums(fine: Tensor) -> Tensor:
    height, width = ((size + 1) // 2 for size in fine.shape[-2:])
    coarse = fine.new_zeros((*fine.shape[:-2], height, width))
    for source, target in _blocks(fine, coarse):
        target += source
    return coarse
