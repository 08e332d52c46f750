"""Zhang et al.'s mixture formation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crrn.mixing.model import Drawn, Mixture, Parameters, checked_number, checked_range, formation_of, per_image
from crrn.mixing.operations import blurred, mean_excess, power, power_

MASK = 2.5
"""Side of the vignette's mask as a multiple of the image's short side: the published 560 pixels for 224."""

SPAN = 6.0125
"""Standard deviations from one border of the mask to the other, as published."""


class GammaMixing:
    """A blurred and vignetted reflection, added in linear light (Zhang et al., CVPR 2018).

    Both photos are raised to g = 2.2. R is blurred by a Gaussian, whose window ends at 2 sigma. Where B + R exceeds 1
    in a channel, R is lowered in that channel: R = clip(R - u * (mean of B + R above 1, less 1)). R is then multiplied
    by a vignette. It is a window of a mask, the square root of a Gaussian, which falls from 1 in its centre to
    exp(-9/4) in the middle of its borders. Then I = clip((a B + R)^(1/g)).

    The mask grows with the photo. Its side is 2.5 times the photo's short side, or the photo's long side if that is
    more. The published mask has 560 pixels, and larger photos do not fit into it. The published code also draws again
    if a reflection is too weak to be seen. crrn does not: that depends on pixels, and a plan is drawn without them.

    The targets are B, not dimmed, and R^(1/g). ``formation`` is (g, a^(1/g)).

    Args:
        gamma: g.
        sigma: range of the blur's standard deviation in pixels.
        lowering: range of u.
        background_gain: range of a.

    Raises:
        ConfigError: a range or a number out of range; the message says which values are allowed.
    """

    def __init__(
        self,
        gamma: float = 2.2,
        sigma: Sequence[float] = (1.0, 5.0),
        lowering: Sequence[float] = (1.08, 1.18),
        background_gain: Sequence[float] = (0.8, 1.0),
    ) -> None:
        self.gamma = checked_number("mixing.gamma", gamma, 1, 4)
        self.sigma = checked_range("mixing.sigma", sigma, 0.1, 5)
        self.lowering = checked_range("mixing.lowering", lowering, 0, 10)
        self.background_gain = checked_range("mixing.background_gain", background_gain, 0, 1)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw the parameters of one mixture, uniformly from their ranges."""
        return {
            "sigma": rng.uniform(*self.sigma),
            "lowering": rng.uniform(*self.lowering),
            "background_gain": rng.uniform(*self.background_gain),
            "vignette": rng.random(2, dtype=np.float32),
        }

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form mixtures of (N, 3, H, W) layers in [0, 1].

        Args:
            background, reflection: the layers, H and W above twice the largest sigma.
            parameters: (N,) each, but "vignette" (N, 2): where in its mask the photo lies, from left and from above, 0
                at one border and 1 at the other.
        """
        b = power(background, self.gamma)
        sigma = parameters["sigma"]
        r = blurred(power(reflection, self.gamma), sigma, math.ceil(2 * self.sigma[1]), (2 * sigma).ceil())
        lowering = mean_excess(b, r, (2, 3)).mul_(per_image(parameters["lowering"], r))
        r.sub_(lowering).clamp_(0, 1).mul_(vignette(parameters["vignette"].to(r), *r.shape[-2:]))
        b.mul_(per_image(parameters["background_gain"], b))
        mixture = power_(b.add_(r), 1 / self.gamma).clamp_(max=1)
        gain = parameters["background_gain"].pow(1 / self.gamma)
        r = power_(r, 1 / self.gamma)
        return Mixture(mixture, background, r, formation=formation_of(mixture, self.gamma, gain))


def vignette(place: Tensor, height: int, width: int) -> Tensor:
    """A window of a mask that is the square root of a Gaussian and spans about 3 sigma to each side.

    Args:
        place: (N, 2), where the window lies, from left and from above: 0 at one border and 1 at the other.
        height, width: of the window.

    Returns:
        (N, 1, height, width) in (0, 1].
    """

    def profile(size: int, start: Tensor) -> Tensor:
        side = max(size, MASK * min(height, width))
        pixel = torch.arange(size, dtype=place.dtype, device=place.device) + 0.5
        position = start[:, None] * (side - size) + pixel
        return torch.exp(-0.25 * ((position / side - 0.5) * SPAN).square())

    return profile(height, place[:, 1])[:, None, :, None] * profile(width, place[:, 0])[:, None, None, :]
