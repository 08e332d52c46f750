"""DSRNet's mixture formation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from torch import Tensor

from crrn.errors import ConfigError
from crrn.mixing.model import Drawn, Mixture, Parameters, checked_number, checked_range, formation_of, per_image
from crrn.mixing.operations import blurred, mean_excess


class ScreenMixing:
    """A blurred reflection, by the screen blend of photo editors or by a sum (DSRNet: Hu and Guo, ICCV 2023).

    R is blurred by a Gaussian. Let b = alpha B and r = beta R. A share of the mixtures is screened: I = b + r - b r,
    which never saturates. The others are summed as in CEILNet. If b + r exceeds 1 somewhere, all of r is lowered:
    r = clip(r - 1.3 * (mean of b + r above 1, less 1)). Then I = clip(b + r). The blur continues the image beyond its
    border by reflection (our choice).

    The targets are B, not dimmed, and r. ``formation`` is (1, alpha) in the summed mixtures and NaN in the others.

    Args:
        sigma: range of the blur's standard deviation in pixels.
        kernels: sides of the blur's window in pixels, odd, with the weight by which each is drawn, in any unit.
        alpha: range of the background's weight.
        beta: range of the reflection's weight.
        screen_share: share of the mixtures that are screened.
        lowering: the factor 1.3.

    Raises:
        ConfigError: a range or a number out of range, an even kernel, or a negative weight.
    """

    def __init__(
        self,
        sigma: Sequence[float] = (2.0, 5.0),
        kernels: Mapping[int, float] = MappingProxyType({5: 0.1, 7: 0.2, 9: 0.3, 11: 0.4}),
        alpha: Sequence[float] = (0.8, 1.0),
        beta: Sequence[float] = (0.4, 1.0),
        screen_share: float = 0.7,
        lowering: float = 1.3,
    ) -> None:
        self.sigma = checked_range("mixing.sigma", sigma, 0.1, 100)
        self.alpha = checked_range("mixing.alpha", alpha, 0, 1)
        self.beta = checked_range("mixing.beta", beta, 0, 1)
        self.screen_share = checked_number("mixing.screen_share", screen_share, 0, 1)
        self.lowering = checked_number("mixing.lowering", lowering, 0, 10)
        if not (
            isinstance(kernels, Mapping)
            and all(isinstance(side, int) and side > 0 and side % 2 == 1 for side in kernels)
            and all(isinstance(weight, int | float) and 0 <= weight < math.inf for weight in kernels.values())
            and sum(kernels.values()) > 0
        ):
            raise ConfigError(
                f"mixing.kernels={kernels} does not give odd numbers of pixels with weights of 0 or more, not all 0: "
                "give e.g. {5: 0.1, 7: 0.2, 9: 0.3, 11: 0.4}."
            )
        self.kernels = list(kernels)
        self._shares = np.array(list(kernels.values()), dtype=np.float64) / sum(kernels.values())

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw the parameters of one mixture."""
        return {
            "sigma": rng.uniform(*self.sigma),
            "kernel": float(rng.choice(self.kernels, p=self._shares)),
            "alpha": rng.uniform(*self.alpha),
            "beta": rng.uniform(*self.beta),
            "screen": float(rng.random() < self.screen_share),
        }

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form mixtures of (N, 3, H, W) layers in [0, 1].

        Args:
            background, reflection: the layers.
            parameters: (N,) each; "screen" is 1 for a screen blend and 0 for a sum.
        """
        screened = per_image(parameters["screen"], background)
        radius = max(self.kernels) // 2
        r = blurred(reflection, parameters["sigma"], radius, parameters["kernel"] // 2)
        r.mul_(per_image(parameters["beta"], r))
        b = background * per_image(parameters["alpha"], background)
        r.sub_(mean_excess(b, r, (1, 2, 3)).mul_(self.lowering * (1 - screened))).clamp_(0, 1)
        mixture = (b + r).sub_(b.mul_(r).mul_(screened)).clamp_(0, 1)
        formation = formation_of(mixture, 1, parameters["alpha"])
        return Mixture(mixture, background, r, formation=formation.masked_fill_(screened.view(-1, 1) > 0, math.nan))
