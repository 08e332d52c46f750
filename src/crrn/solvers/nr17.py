"""NR17: suppression of reflections with a Laplacian data term (Arvanitopoulos et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crrn.errors import ConfigError
from crrn.image.differences import add_neighbours, differences, divergence, laplacian
from crrn.image.spectral import periodic_filter
from crrn.solvers.solver import Solver, checked, checked_count

INNER = ("adam", "closed")


class NR17(Solver):
    """Assumes that reflections have weak gradients. Minimises ||L T - L I||^2 + lambda ||grad T||_0, L the Laplacian.

    Half-quadratic splitting with beta = beta_start lambda, then times kappa while below beta_max: 25 outer steps as
    published. Each zeroes T's circular forward differences where their squares, summed over both directions and the
    channels, are below lambda / beta, and with what is left, g, minimises the quadratic

        ||L T - L I||^2 + beta ||grad T - g||^2.

    Nothing is clipped. The background's mean drifts with "adam" and is the mixture's with "closed".

    Args:
        sparsity: lambda, larger removes more.
        beta_start: beta of the first outer step, as a multiple of lambda.
        kappa: growth of beta, above 1.
        beta_max: where beta stops.
        inner: how the quadratic is minimised. "adam", as published: `adam_steps` steps of Adam from the last T, L zero
            padded, moments reset; with the published learning rate that goes only part of the way, and as Adam divides
            by the gradient's own size it follows rounding in flat regions (a mixture rounded to float32 changes single
            pixels by up to 0.01). "closed": exactly, by FFT, L circular; fast, and it removes more.
        adam_steps: Adam's steps in each outer step.
        learning_rate: of Adam; its betas are 0.9 and 0.999 and its epsilon 1e-8.
        brightness, progress: see `Solver`.

    Raises:
        ConfigError: a constant is out of range, or `inner` unknown.
    """

    def __init__(
        self,
        sparsity: float = 2e-3,
        kappa: float = 2.0,
        beta_max: float = 1e5,
        inner: str = "adam",
        adam_steps: int = 100,
        learning_rate: float = 1e-3,
        beta_start: float = 2.0,
        adam_betas: tuple[float, float] = (0.9, 0.999),
        adam_epsilon: float = 1e-8,
        brightness: str = "raw",
        progress: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(brightness, progress)
        self.sparsity = checked("sparsity", sparsity, 0, open_low=True)
        self.beta_start = checked("beta_start", beta_start, 0, open_low=True)
        self.kappa = checked("kappa", kappa, 1, open_low=True)
        self.beta_max = checked("beta_max", beta_max, 0, open_low=True)
        if inner not in INNER:
            raise ConfigError(f"inner={inner!r} is unknown: choose one of {', '.join(INNER)}")
        self.inner = inner
        self.adam_steps = checked_count("adam_steps", adam_steps)
        self.learning_rate = checked("learning_rate", learning_rate, 0, open_low=True)
        if len(adam_betas) != 2:
            raise ConfigError(f"adam_betas={adam_betas} are not two numbers: give e.g. [0.9, 0.999]")
        first, second = (checked("adam_betas", beta, 0, 1 - 1e-9) for beta in adam_betas)
        self.adam_betas = (first, second)
        self.adam_epsilon = checked("adam_epsilon", adam_epsilon, 0, open_low=True)
        self.config = self._settings()

    @property
    def betas(self) -> list[float]:
        """beta of each outer step."""
        beta, betas = self.beta_start * self.sparsity, []
        while beta < self.beta_max:
            betas.append(beta)
            beta *= self.kappa
        return betas

    def background(self, mixture: Tensor) -> Tensor:
        """Run the outer steps, (N, 3, H, W)."""
        # Both inner solvers work on the change U = T - I, whose rounding is that of small numbers.
        gradient = differences(mixture, "circular")
        change = torch.zeros_like(mixture)
        betas = self.betas
        for step, beta in enumerate(betas):
            dx, dy = (du + d for du, d in zip(differences(change, "circular"), gradient, strict=True))
            square = (dx * dx).addcmul_(dy, dy).sum(1, keepdim=True)
            strong = torch.ge(square, self.sparsity / beta, out=square)  # factors 0 and 1
            lost = divergence(
                torch.addcmul(gradient[0], dx, strong, value=-1),
                torch.addcmul(gradient[1], dy, strong, value=-1),
                "circular",
            )
            if self.inner == "closed":
                change = self._minimum(lost, beta)
            else:
                self._descend(change, lost, beta, step, len(betas))
            self.report((step + 1) / len(betas))
        return mixture + change

    @staticmethod
    def _minimum(lost: Tensor, beta: float) -> Tensor:
        """The U with (L^2 - beta L) U = beta div(grad I - g), all circular, of mean 0."""
        return periodic_filter(lost, lambda k: torch.where(k > 0, beta / (k * (k + beta)), 0))

    def _descend(self, change: Tensor, lost: Tensor, beta: float, step: int, steps: int) -> None:
        """Adam on L L U - beta div(grad U) - beta div(grad I - g), `change` in place: half the gradient, which is the
        same descent with half the epsilon."""
        constant = lost * -beta
        curved, change.grad = torch.empty_like(change), torch.empty_like(change)
        adam = torch.optim.Adam(
            [change], self.learning_rate, betas=self.adam_betas, eps=self.adam_epsilon / 2, fused=True
        )
        for inner in range(self.adam_steps):
            laplacian(change, out=curved)
            # L L U - beta L U; div grad U is L U but at the border, where it also sees the other side
            gradient = add_neighbours(torch.add(constant, curved, alpha=-4 - beta, out=change.grad), curved)
            for dim in (-2, -1):
                first, last = change.narrow(dim, 0, 1), change.narrow(dim, change.shape[dim] - 1, 1)
                gradient.narrow(dim, 0, 1).sub_(last, alpha=beta)
                gradient.narrow(dim, change.shape[dim] - 1, 1).sub_(first, alpha=beta)
            adam.step()
            if inner % 10 == 9:
                self.report((step + (inner + 1) / self.adam_steps) / steps)
        change.grad = None
