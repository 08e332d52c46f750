"""WS16: reflection removal guided by depth of field (Wan et al., ICIP 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from crrn.errors import ConfigError
from crrn.image.colour import rgb_to_lab
from crrn.image.differences import differences
from crrn.image.filters import filter_separable, gaussian_kernel
from crrn.image.multigrid import Coupling, PairOperator, VCycle, conjugate_gradients
from crrn.solvers.solver import Solver, checked, checked_count

LAB_RANGE = (100.0, 255.0, 255.0)
"""What L*, a* and b* are divided by, so that their differences lie in [-1, 1]."""


class WS16(Solver):
    """Assumes that the background is in focus. Sharp edges belong to it, weak edges elsewhere to the reflection.

    `classify` finds both kinds of edges, `separate` solves for layers whose derivatives are sparse and vanish on the
    other layer's edges. The equations leave each channel's mean free: the reflection's is made 0 (our choice), and
    the background's is the mixture's.

    Args:
        blurs: windows of the Gaussian blurs that the image is compared with, in pixels.
        sigma: of these blurs, in pixels.
        bins: of the histograms of derivatives.
        scales: of the pyramid's two coarser levels.
        coarse_weights: of these levels, whose sum multiplies the confidence at scale 1.
        window: side of the square over which divergences are summed, in pixels.
        threshold_ratio: tau_L is the mean of the confidence in L*, tau_a = tau_L / ratio, tau_b = tau_a / ratio.
        reflection_range: Sobel magnitudes of the reflection's edges, between two values.
        margin: pixels around background edges, square, where no edge is the reflection's (authors' code: 5).
        iterations: of the reweighting.
        first_weight, second_weight: of first and second derivatives away from edges.
        edge_weight, edge_second_weight: of a layer's first and second derivatives on the other's edges.
        floor: of |r| in the weight 1 / |r| of a residual r.
        published_weights: compatibility with the authors' code, whose weight vector has ten blocks for eight blocks
            of equations, so that the mixture's four are weighted by the wrong ones (see `separate`).
        tolerance, solver_iterations: of the linear solver, our choice: with 1e-5 the layers are those of an exact
            solver to 2e-5 in the mean and 5e-4 at worst, an eighth of a level of 8 bits.
        brightness, progress: see `Solver`.

    Raises:
        ConfigError: a constant is out of range.
    """

    def __init__(
        self,
        blurs: Sequence[int] = (3, 5, 7),
        sigma: float = 5.0,
        bins: int = 41,
        scales: Sequence[float] = (0.8, 0.5),
        coarse_weights: Sequence[float] = (0.4, 0.6),
        window: int = 3,
        threshold_ratio: float = 1.5,
        reflection_range: Sequence[float] = (0.1, 0.3),
        margin: int = 5,
        iterations: int = 5,
        first_weight: float = 50.0,
        second_weight: float = 1.0,
        edge_weight: float = 100.0,
        edge_second_weight: float = 4.0,
        floor: float = 1e-5,
        published_weights: bool = False,
        tolerance: float = 1e-5,
        solver_iterations: int = 1000,
        brightness: str = "raw",
        progress: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(brightness, progress)
        if not blurs or any(checked_count("blurs", size) % 2 == 0 for size in blurs):
            raise ConfigError(f"blurs={list(blurs)} are not windows: give odd numbers of pixels, e.g. [3, 5, 7]")
        self.blurs = tuple(blurs)
        self.sigma = checked("sigma", sigma, 0, open_low=True)
        self.bins = checked_count("bins", bins, 2)
        self.scales = _pair("scales", scales)
        if not 0 < min(self.scales) <= max(self.scales) <= 1:
            raise ConfigError(f"scales={list(scales)} are out of range: give two numbers above 0 and at most 1")
        self.coarse_weights = _pair("coarse_weights", coarse_weights)
        self.window = checked_count("window", window)
        if self.window % 2 == 0:
            raise ConfigError(f"window={window} has no centre: give an odd number of pixels, e.g. 3")
        self.threshold_ratio = checked("threshold_ratio", threshold_ratio, 0, open_low=True)
        self.reflection_range = _pair("reflection_range", reflection_range)
        self.margin = checked_count("margin", margin, 0)
        self.iterations = checked_count("iterations", iterations, 0)
        self.first_weight = checked("first_weight", first_weight, 0, open_low=True)
        self.second_weight = checked("second_weight", second_weight, 0)
        self.edge_weight = checked("edge_weight", edge_weight, 0, open_low=True)
        self.edge_second_weight = checked("edge_second_weight", edge_second_weight, 0)
        self.floor = checked("floor", floor, 0, open_low=True)
        if not isinstance(published_weights, bool):
            raise ConfigError(f"published_weights={published_weights} is neither true nor false")
        self.published_weights = published_weights
        self.tolerance = checked("tolerance", tolerance, 0, 1, open_low=True)
        self.solver_iterations = checked_count("solver_iterations", solver_iterations)
        self.config = self._settings()

    def background(self, mixture: Tensor) -> Tensor:
        """Classify the edges, then separate, (N, 3, H, W)."""
        return mixture - self.separate(mixture, *self.classify(mixture))

    def classify(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Find the background's and the reflection's edges.

        In each channel of L*a*b* and at scale 1 and the two coarser ones, D_n is the sum over the blurs of the
        divergence between the derivatives of the blurred and of the sharp image: with p_k and p_1 the frequencies of a
        pixel's two derivatives, (d + 1) / 2 in `bins` bins, and q = p_k / (p_k + p_1), it is q log(p_k / p_1), summed
        over x, y and the window. D = (0.4 D_2 + 0.6 D_3, enlarged) D_1. An edge is the background's where D exceeds tau
        in any channel; the reflection's where the Sobel magnitude, the greatest of the three colours, is in the range
        and no background edge is near. (The published factor 1/70 of D_n cancels, as tau is a mean of D. The authors'
        code overwrites the frequencies while it sums; here they stay: our choice, as are replicated borders.)

        Args:
            mixture: (N, 3, H, W) in [0, 1].

        Returns:
            The background's edges and the reflection's, both bool (N, 1, H, W), disjoint.
        """
        lab = rgb_to_lab(mixture) / mixture.new_tensor(LAB_RANGE).view(3, 1, 1)
        height, width = mixture.shape[-2:]
        fine, *coarse = (self._confidence(_resized(lab, scale)) for scale in (1.0, *self.scales))
        enlarged = (F.interpolate(level, (height, width), mode="bicubic", align_corners=False) for level in coarse)
        confidence = fine * sum(weight * level for weight, level in zip(self.coarse_weights, enlarged, strict=True))
        tau = confidence[:, :1].mean((2, 3), keepdim=True)
        limits = torch.cat([tau / self.threshold_ratio**n for n in range(3)], dim=1)
        background = (confidence > limits).any(1, keepdim=True)
        near = F.max_pool2d(background.to(mixture.dtype), 2 * self.margin + 1, stride=1, padding=self.margin) > 0
        low, high = self.reflection_range
        magnitude = _sobel(mixture)
        return background, (magnitude > low) & (magnitude < high) & ~near

    def _confidence(self, lab: Tensor) -> Tensor:
        """D_n of each channel, (N, 3, H, W)."""
        sharp = [self._frequencies(derivative) for derivative in differences(lab, "replicate")]
        total = torch.zeros_like(lab)
        for size in self.blurs:
            padded = F.pad(lab, (size // 2,) * 4, mode="replicate")
            blurred = filter_separable(padded, gaussian_kernel(size, self.sigma, lab.dtype, lab.device))
            for derivative, p_1 in zip(differences(blurred, "replicate"), sharp, strict=True):
                p_k = self._frequencies(derivative)
                total += p_k / (p_k + p_1) * (p_k / p_1).log()
        return F.avg_pool2d(total, self.window, stride=1, padding=self.window // 2, divisor_override=1)

    def _frequencies(self, derivative: Tensor) -> Tensor:
        """How frequent each pixel's derivative is in its plane, in (0, 1]."""
        index = ((derivative + 1) * (self.bins / 2)).floor_().clamp_(0, self.bins - 1).long().flatten(2)
        counts = torch.zeros((*index.shape[:2], self.bins), dtype=derivative.dtype, device=derivative.device)
        counts.scatter_add_(2, index, torch.ones_like(derivative).flatten(2))
        return counts.gather(2, index).view_as(derivative) / index.shape[2]

    def separate(self, mixture: Tensor, background_edges: Tensor, reflection_edges: Tensor) -> Tensor:
        """Find the reflection, given the edges of both layers (Levin and Weiss, PAMI 2007).

        With D the first and second derivatives along x and y inside the image, R minimises in each channel
        sum u^2 |D R| + v^2 |D (I - R)| by reweighted least squares, weights u^2 / max(|r|, floor); the first solve
        has weights u^2. u is 50 for first and 1 for second derivatives; on the reflection's edges 0 for the first, on
        the background's 100 and 4. v is the same with the edges exchanged. Solved in double precision.

        With `published_weights` v is what the authors' misaligned vector gives: for x derivatives u's second-order
        weights, for y derivatives the right ones, for the second derivatives v's of first order along y and of second
        order.

        Args:
            mixture: (N, C, H, W).
            background_edges, reflection_edges: bool (N, 1, H, W), disjoint.

        Returns:
            The reflection, (N, C, H, W), the mean of each plane 0.
        """
        weights = self._weights(background_edges, reflection_edges)
        # Channel by channel on a CPU, whose caches hold one plane; all at once elsewhere.
        planes = mixture.split(1, dim=1) if mixture.device.type == "cpu" else (mixture,)
        results = [self._reweighted(plane.double(), weights, n, len(planes)) for n, plane in enumerate(planes)]
        return torch.cat(results, dim=1).to(mixture.dtype)

    def _weights(self, background_edges: Tensor, reflection_edges: Tensor) -> list[tuple[Tensor, Tensor]]:
        """u^2 and v^2 for the derivatives x, y, xx, yy, each (N, 1, H', W')."""

        def first(own: Tensor, other: Tensor) -> Tensor:
            everywhere = torch.full(own.shape, self.first_weight, dtype=torch.float64, device=own.device)
            return everywhere.masked_fill(own, 0).masked_fill(other, self.edge_weight).square()

        def second(other: Tensor) -> Tensor:
            everywhere = torch.full(other.shape, self.second_weight, dtype=torch.float64, device=other.device)
            return everywhere.masked_fill(other, self.edge_second_weight).square()

        u, v = first(reflection_edges, background_edges), first(background_edges, reflection_edges)
        u2, v2 = second(background_edges), second(reflection_edges)
        mixed = (u2, v, v, v2) if self.published_weights else (v, v, v2, v2)
        insides = (slice(None, -1), slice(None, -1), slice(1, -1), slice(1, -1))
        pairs = zip((u, u, u2, u2), mixed, strict=True)
        return [
            tuple(w[..., inside] if n % 2 == 0 else w[..., inside, :] for w in pair)  # type: ignore[misc]
            for n, (inside, pair) in enumerate(zip(insides, pairs, strict=True))
        ]

    def _reweighted(self, mixture: Tensor, weights: list[tuple[Tensor, Tensor]], plane: int, planes: int) -> Tensor:
        """The reflection of some planes, double precision."""
        target = _derivatives(mixture)
        reflection = torch.zeros_like(mixture)
        for iteration in range(self.iterations + 1):
            totals, sources = [], []
            for (u, v), own, whole in zip(weights, _derivatives(reflection), target, strict=True):
                if iteration:
                    u, v = u / own.abs().clamp_(min=self.floor), v / (whole - own).abs_().clamp_(min=self.floor)
                totals.append((u + v).expand_as(whole))
                sources.append(v * whole)
            reflection = self._solved(totals, _adjoint(sources, mixture), reflection)
            self.report((plane + (iteration + 1) / (self.iterations + 1)) / planes)
        return reflection

    def _solved(self, weights: list[Tensor], rhs: Tensor, start: Tensor) -> Tensor:
        """R with sum D^T w D R = rhs."""

        # w (x_{j-1} - 2 x_j + x_{j+1})^2 = 2 w (x_{j-1} - x_j)^2 + 2 w (x_j - x_{j+1})^2 - w (x_{j-1} - x_{j+1})^2
        couplings, neighbours = [], []
        for first, second, dim in ((weights[0], weights[2], -1), (weights[1], weights[3], -2)):
            both = torch.zeros_like(first)
            inner = second.shape[dim]
            if inner:
                both.narrow(dim, 0, inner).add_(second)
                both.narrow(dim, 1, inner).add_(second)
                couplings.append(Coupling(-second, dim, 2))
            couplings.append(Coupling(first + 2 * both, dim))
            neighbours.append((first + both).float())
        # The preconditioner only has to be about right: single precision halves its passes over memory.
        cycle, single = VCycle(*neighbours), torch.empty_like(rhs, dtype=torch.float32)
        return conjugate_gradients(
            PairOperator(couplings),
            rhs,
            start,
            lambda residual: cycle(single.copy_(residual)),
            self.tolerance,
            self.solver_iterations,
        )


def _derivatives(x: Tensor) -> list[Tensor]:
    """x, y, xx and yy where they lie inside the image; second ones on their middle pixel."""
    dx, dy = x.diff(dim=-1), x.diff(dim=-2)
    return [dx, dy, _inside(dx, -1), _inside(dy, -2)]


def _inside(first: Tensor, dim: int) -> Tensor:
    """Differences along `dim`; none where there is no pair."""
    return first.diff(dim=dim) if first.shape[dim] else first


def _adjoint(parts: list[Tensor], like: Tensor) -> Tensor:
    """The adjoint of `_derivatives`."""
    result = torch.zeros_like(like)
    for first, second, dim in ((parts[0], parts[2], -1), (parts[1], parts[3], -2)):
        size, inner = first.shape[dim], second.shape[dim]
        if inner:
            first = first.clone()
            first.narrow(dim, 1, inner).add_(second)
            first.narrow(dim, 0, inner).sub_(second)
        result.narrow(dim, 1, size).add_(first)
        result.narrow(dim, 0, size).sub_(first)
    return result


def _resized(image: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return image
    height, width = (max(1, -int(-size * scale // 1)) for size in image.shape[-2:])
    return F.interpolate(image, (height, width), mode="bicubic", align_corners=False, antialias=True)


def _sobel(image: Tensor) -> Tensor:
    """Unnormalised 3x3 Sobel magnitude, the greatest of the channels, replicated border, (N, 1, H, W)."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    gx, gy = rows[..., 2:] - rows[..., :-2], columns[..., 2:, :] - columns[..., :-2, :]
    return torch.hypot(gx, gy).amax(1, keepdim=True)


def _pair(name: str, values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2:
        raise ConfigError(f"{name}={list(values)} are not two numbers")
    low, high = (checked(name, value, 0) for value in values)
    return low, high
