"""CEILNet's mixture formation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from crrn.errors import ConfigError
from crrn.mixing.model import Drawn, Mixture, Parameters, checked_range, formation_of
from crrn.mixing.operations import blurred, mean_excess


class CEILNetMixing:
    """A blurred reflection, darkened where the sum would saturate (Fan et al., ICCV 2017).

    R is blurred by a Gaussian, sigma ~ U[2, 5], and I = B + R. If I exceeds 1 somewhere, the whole reflection is
    lowered: R = clip(R - m). m is 1.3 times the mean of I - 1 over all values of the image above 1. Then I = clip(B +
    R). The blur continues the image beyond its border by reflection (our choice).

    The targets are B and the R that was added, both in [0, 1]. ``formation`` is (1, 1).

    Args:
        sigma: range of the blur's standard deviation in pixels.
        kernel: side of the blur's window in pixels, odd.
        lowering: the factor 1.3.

    Raises:
        ConfigError: a range that is not 0.1 <= low <= high <= 100, an even or non-positive kernel, or a negative
            factor.
    """

    def __init__(self, sigma: Sequence[float] = (2.0, 5.0), kernel: int = 11, lowering: float = 1.3) -> None:
        self.sigma = checked_range("mixing.sigma", sigma, 0.1, 100)
        if kernel < 1 or kernel % 2 == 0:
            raise ConfigError(f"mixing.kernel={kernel} has no centre: give an odd number of pixels, e.g. 11.")
        if lowering < 0:
            raise ConfigError(f"mixing.lowering={lowering:g} would brighten the reflection: give 0 or more, e.g. 1.3.")
        self.kernel = kernel
        self.lowering = lowering

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw sigma of one mixture, uniformly from its range."""
        return {"sigma": rng.uniform(*self.sigma)}

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form mixtures of (N, 3, H, W) layers in [0, 1] with the parameter "sigma" (N,)."""
        visible = blurred(reflection, parameters["sigma"], self.kernel // 2)
        # An image without excess is not lowered.
        visible.sub_(mean_excess(background, visible, (1, 2, 3)).mul_(self.lowering)).clamp_(0, 1)
        mixture = (background + visible).clamp_(0, 1)
        return Mixture(mixture, background, visible, formation=formation_of(mixture, 1, 1))
