"""Sparse weighted least squares on an image's derivatives: conjugate gradients on a multigrid, nothing assembled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SMOOTHING = 0.7
"""Damping of the Jacobi steps."""

STIFFNESS = 0.6
"""Factor of each coarser level's weights: blocks of constant value make a level too stiff, by 2 for smooth errors.
This compromise needed the fewest iterations on photos (our choice)."""


class Coupling(NamedTuple):
    """Weights of the pairs of pixels at some distance along an axis."""

    weight: Tensor
    """(..., H, W) less `distance` along the axis; pair k is of pixels k and k + `distance`."""
    dim: int
    """-1 or -2."""
    distance: int = 1


class PairOperator:
    """x -> the gradient of half the sum over pairs of w (x_i - x_j)^2, in each plane.

    Symmetric, and 0 for constants. Weights may be negative where the sum as a whole is not.
    """

    def __init__(self, couplings: Sequence[Coupling]) -> None:
        weight, dim, distance = couplings[0]
        shape = list(weight.shape)
        shape[dim] += distance
        self.couplings = couplings
        self.diagonal = weight.new_zeros(shape)
        for weight, dim, distance in couplings:
            self.diagonal.narrow(dim, 0, weight.shape[dim]).add_(weight)
            self.diagonal.narrow(dim, distance, weight.shape[dim]).add_(weight)

    def subtract_from(self, rhs: Tensor, x: Tensor, out: Tensor) -> Tensor:
        """rhs - operator(x), written to `out`: passes over memory are what this costs, so none is allocated."""
        torch.addcmul(rhs, self.diagonal, x, value=-1, out=out)
        for weight, dim, distance in self.couplings:
            size = weight.shape[dim]
            out.narrow(dim, distance, size).addcmul_(weight, x.narrow(dim, 0, size))
            out.narrow(dim, 0, size).addcmul_(weight, x.narrow(dim, distance, size))
        return out


class VCycle:
    """A multigrid V-cycle for pairs of neighbours with positive weights: about the inverse of their `PairOperator`.

    Levels halve the sides; a coarse pixel is a block of 2x2, whose weight to the next is the sum of those between.
    Each level takes one damped Jacobi step before and one after. The cycle is symmetric and definite up to constants.

    Args:
        wx, wy: (..., H, W - 1) and (..., H - 1, W), positive: the weights along W and along H.
    """

    def __init__(self, wx: Tensor, wy: Tensor) -> None:
        self.operator = PairOperator((Coupling(wx, -1), Coupling(wy, -2)))
        diagonal = self.operator.diagonal
        self.step = torch.where(diagonal > 0, SMOOTHING / diagonal, 0)
        self.x, self.residual = torch.empty_like(diagonal), torch.empty_like(diagonal)
        self.coarser: VCycle | None = None
        if max(diagonal.shape[-2:]) > 2:
            self.coarser = VCycle(_paired(wx[..., 1::2], -2), _paired(wy[..., 1::2, :], -1))
            self.sums = torch.empty_like(self.coarser.x)

    def __call__(self, rhs: Tensor) -> Tensor:
        """From 0 to about the x for which the operator gives `rhs`, (..., H, W) of sum 0; valid until the next call."""
        x = torch.mul(rhs, self.step, out=self.x)
        if self.coarser is not None:
            self.operator.subtract_from(rhs, x, out=self.residual)
            for target, source in _blocks(x, self.coarser(_add_blocks(self.residual, self.sums))):
                target += source
        return x.addcmul_(self.step, self.operator.subtract_from(rhs, x, out=self.residual))


def conjugate_gradients(
    operator: PairOperator,
    rhs: Tensor,
    start: Tensor,
    precondition: Callable[[Tensor], Tensor],
    tolerance: float,
    iterations: int,
) -> Tensor:
    """Solve operator(x) = rhs in each plane.

    Args:
        operator: definite up to constants.
        precondition: about its inverse, symmetric and definite likewise; may work in single precision.
        rhs: (..., H, W), each plane's sum 0.
        start: where to begin, of the same shape.
        tolerance: stop when every plane's residual is this small beside `rhs`, in the preconditioner's norm.
        iterations: stop after so many at the latest.

    Returns:
        x, (..., H, W), the mean of each plane 0.
    """
    x = start.clone()
    nothing, image, product = torch.zeros_like(rhs), torch.empty_like(rhs), torch.empty_like(rhs)

    def dot(first: Tensor, second: Tensor) -> Tensor:
        # Large temporaries would be fresh pages each time, which take longer than the arithmetic.
        return torch.mul(first, second, out=product).sum((-2, -1), keepdim=True)

    residual = operator.subtract_from(rhs, x, out=torch.empty_like(rhs))
    goal = tolerance**2 * dot(rhs, precondition(rhs))
    z = precondition(residual)
    direction = z.to(rhs.dtype, copy=True)
    size = dot(residual, z)
    for _ in range(iterations):
        if (size <= goal).all():
            break
        operator.subtract_from(nothing, direction, out=image)  # minus the operator
        curvature = -dot(direction, image)
        length = torch.where(curvature > 0, size / curvature, 0)
        x.addcmul_(length, direction)
        residual.addcmul_(length, image)
        z = precondition(residual)
        before, size = size, dot(residual, z)
        direction.mul_(torch.where(before > 0, size / before, 0)).add_(z)
    return x - x.mean((-2, -1), keepdim=True)


def _paired(weights: Tensor, dim: int) -> Tensor:
    """Sums of neighbours 0 + 1, 2 + 3, ... along `dim`, a last single one alone."""
    first, second = (weights[..., k::2, :] if dim == -2 else weights[..., k::2] for k in (0, 1))
    result = first * STIFFNESS
    result.narrow(dim, 0, second.shape[dim]).add_(second, alpha=STIFFNESS)
    return result


def _blocks(fine: Tensor, coarse: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each of the four places in a block the fine pixels there and the coarse pixels that have one there."""
    parts = [fine[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return [(part, coarse[..., : part.shape[-2], : part.shape[-1]]) for part in parts]


def _add_blocks(fine: Tensor, out: Tensor) -> Tensor:
    """The sum of each block of 2x2, written to ``out``."""
    out.zero_()
    for source, target in _blocks(fine, out):
        target += source
    return out
