"""LB14: separation by relative smoothness (Li and Brown, CVPR 2014)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from crrn.image.differences import differences, divergence
from crrn.image.spectral import periodic_filter
from crrn.solvers.solver import Solver, checked, checked_count


class LB14(Solver):
    """Assumes a smooth reflection: the background has few gradients, and the mixture's second derivatives.

    Minimises lambda ||L (B - I)||^2 plus a truncated quadratic of B's gradient over 0 <= B <= I, L the Laplacian, by
    half-quadratic splitting with weights w = growth^i / threshold, i = 0, 1, ... Each iteration

    1. takes B's circular forward differences, and zeroes those along x where sum over channels |B_x| < 1 / w, those
       along y likewise;
    2. solves for B with these as its gradient g: (lambda L^2 - w L) B = lambda L^2 I - w div g, by FFT; the mean,
       which the equation leaves free, is I's;
    3. shifts each channel by -shift_rate/n (sum of B[B < 0] + sum of B[B > I]), n pixels, until the shift is below
       shift_tolerance/n;
    4. clamps B to [0, I].

    Args:
        smoothness: lambda, how much smoother the reflection is than the background.
        threshold: of the gradient's absolute sum over channels, in units of the image's range per pixel.
        iterations: of the splitting.
        growth: of w from one iteration to the next.
        shifts: the most shifts of one iteration.
        shift_rate, shift_tolerance: of step 3.
        brightness, progress: see `Solver`. Step 3 leaves the brightness to the bounds: raw results are often dark.

    Raises:
        ConfigError: a constant is out of range.
    """

    def __init__(
        self,
        smoothness: float = 50.0,
        threshold: float = 0.05,
        iterations: int = 3,
        shifts: int = 500,
        growth: float = 2.0,
        shift_rate: float = 2.0,
        shift_tolerance: float = 1.0,
        brightness: str = "raw",
        progress: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(brightness, progress)
        self.smoothness = checked("smoothness", smoothness, 0, open_low=True)
        self.threshold = checked("threshold", threshold, 0, open_low=True)
        self.iterations = checked_count("iterations", iterations)
        self.shifts = checked_count("shifts", shifts, 0)
        self.growth = checked("growth", growth, 0, open_low=True)
        self.shift_rate = checked("shift_rate", shift_rate, 0, open_low=True)
        self.shift_tolerance = checked("shift_tolerance", shift_tolerance, 0)
        self.config = self._settings()

    def background(self, mixture: Tensor) -> Tensor:
        """Run the iterations, (N, 3, H, W)."""
        background = mixture
        for iteration in range(self.iterations):
            background = self._split(mixture, background, self.growth**iteration / self.threshold)
            background = self._shifted(background, mixture).clamp_(min=0)
            background = torch.minimum(background, mixture.clamp(min=0))
            self.report((iteration + 1) / self.iterations)
        return background

    def _split(self, mixture: Tensor, background: Tensor, weight: float) -> Tensor:
        """Steps 1 and 2, for what I has over B: with K = -L, (lambda K^2 + w K)(I - B) = -w div(grad I - g)."""

        def gain(k: Tensor) -> Tensor:
            return torch.where(k > 0, weight / (k * (self.smoothness * k + weight)), 0)

        kept = differences(background, "circular")
        lost = list(differences(mixture, "circular")) if background is not mixture else list(kept)
        for excess, gradient in zip(lost, kept, strict=True):
            size = gradient.abs().sum(1, keepdim=True)
            strong = torch.ge(size, 1 / weight, out=size)  # factors 0 and 1
            excess -= gradient * strong
        return periodic_filter(divergence(lost[0], lost[1], "circular"), gain).add_(mixture)

    def _shifted(self, background: Tensor, upper: Tensor) -> Tensor:
        """Step 3, channel by channel."""
        planes = zip(background.flatten(0, 1), upper.flatten(0, 1), strict=True)
        totals = [self._total_shift(plane.flatten(), bound.flatten()) for plane, bound in planes]
        return background - background.new_tensor(totals).view(*background.shape[:2], 1, 1)

    def _total_shift(self, plane: Tensor, upper: Tensor) -> float:
        """The sum t of step 3's shifts, rate (sum over x < 0 of x + sum over x > upper of x), x = plane - t, both 1-D.

        Where no t balances the two sums the shifts go to and fro to the last, hundreds of times. Most pixels are never
        in question: those that may be are sorted once, and each shift is then two binary searches, in double precision.
        """
        excess = plane - upper
        rate = self.shift_rate / len(plane)
        total, shift, centre = 0.0, math.inf, math.inf
        for _ in range(self.shifts):
            if abs(shift) > NEAR:
                shifted = plane - total
                shifted.mul_((shifted < 0) | (shifted > upper))
                shift = rate * shifted.sum(dtype=torch.float64).item()
            else:
                if abs(total - centre) > NEAR:
                    centre = total
                    below = _Sums(plane, plane, plane < centre + NEAR)
                    above = _Sums(excess, plane, excess > centre - NEAR)
                below_count, below_sum = below.under(total)
                under_count, under_sum = above.under(total, inclusive=True)
                outside = below_count + above.count - under_count
                shift = rate * (below_sum + above.sum - under_sum - outside * total)
            total += shift
            if abs(shift) < self.shift_tolerance / len(plane):
                break
        return total


NEAR = 0.02
"""Shifts below this, and all that follow within as much, are looked up in tables of the pixels near the bounds."""


class _Sums:
    """Of selected pixels: how many have a key under a limit, and the sum of their values."""

    def __init__(self, keys: Tensor, values: Tensor, selected: Tensor) -> None:
        self.keys, order = keys[selected].double().cpu().sort()
        self.sums = torch.cat((torch.zeros(1, dtype=torch.float64), values[selected].double().cpu()[order].cumsum(0)))
        self.count = len(self.keys)
        self.sum = self.sums[-1].item()

    def under(self, limit: float, inclusive: bool = False) -> tuple[int, float]:
        count = int(torch.searchsorted(self.keys, limit, right=inclusive))
        return count, self.sums[count].item()
