"""YL19: fast suppression of reflections by convex optimisation (Yang et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crrn.image.differences import differences, divergence
from crrn.image.spectral import neumann_filter
from crrn.solvers.solver import Solver, checked


class YL19(Solver):
    """Assumes that reflections have weak gradients. Drops these and finds the image whose Laplacian fits the rest.

    Each channel T solves (mu L^2 - lambda L + epsilon) T = L div(delta_h grad Y) + epsilon Y with replicated border,
    Y the mixture and L the Laplacian; delta_h zeroes the gradient where its length is at most h. With mu = 1 and
    lambda = 0 as published that minimises ||L T - div(delta_h grad Y)||^2 + epsilon ||T - Y||^2. One DCT there and
    one back solve it; the mean of each channel stays.

    Args:
        threshold: h, a gradient's length in units of the image's range per pixel.
        epsilon: weight of the mixture itself, positive.
        mu, lambda_: factors of the squared Laplacian, positive, and of the Laplacian.
        brightness, progress: see `Solver`.

    Raises:
        ConfigError: a constant is out of range.
    """

    def __init__(
        self,
        threshold: float = 0.033,
        epsilon: float = 1e-8,
        mu: float = 1.0,
        lambda_: float = 0.0,
        brightness: str = "raw",
        progress: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(brightness, progress)
        self.threshold = checked("threshold", threshold, 0)
        self.epsilon = checked("epsilon", epsilon, 0, open_low=True)
        self.mu = checked("mu", mu, 0, open_low=True)
        self.lambda_ = checked("lambda_", lambda_, 0)
        self.config = self._settings()

    def background(self, mixture: Tensor) -> Tensor:
        """Solve for T, (N, 3, H, W)."""
        # Written for what T lacks of Y, T = Y - D: float32 then rounds the small D, where the equation for T itself
        # would divide Y's rounding by epsilon. With K = -L and div(grad Y) = L Y,
        # (mu K^2 + lambda K + epsilon) D = ((mu - 1) K^2 + lambda K) Y - K div((1 - delta_h) grad Y).
        lost = neumann_filter(self._weak(mixture), lambda k: -k / self._symbol(k))
        if self.mu != 1 or self.lambda_ != 0:
            lost += neumann_filter(mixture, lambda k: k * ((self.mu - 1) * k + self.lambda_) / self._symbol(k))
        return mixture - lost

    def _weak(self, mixture: Tensor) -> Tensor:
        """div((1 - delta_h) grad Y)."""
        dx, dy = differences(mixture, "replicate")
        square = (dx * dx).addcmul_(dy, dy)
        # Factors 0 and 1 in the numbers' own type: filling by a mask of booleans takes a CPU ten times as long.
        weak = torch.le(square, self.threshold**2, out=square)
        return divergence(dx.mul_(weak), dy.mul_(weak), "replicate")

    def _symbol(self, k: Tensor) -> Tensor:
        return (self.mu * k).add_(self.lambda_).mul_(k).add_(self.epsilon)
