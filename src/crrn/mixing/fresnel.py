"""Mixture formation by Fresnel's equations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crrn.mixing.model import Drawn, Mixture, Parameters, checked_number, checked_range, formation_of
from crrn.mixing.operations import power, power_


class FresnelMixing:
    """A pane that reflects more at oblique angles (Fresnel's equations; Lyu et al., NeurIPS 2019).

    I = (rho R^g + (1 - rho) B^g)^(1/g). rho is the share of unpolarised light that the two surfaces of a pane reflect,
    with all reflections between them. It is the mean of 2 r / (1 + r) over both polarisations, with

        r_perp = sin^2(theta - theta') / sin^2(theta + theta')
        r_par = tan^2(theta - theta') / tan^2(theta + theta')
        sin(theta') = sin(theta) / n

    The pane is seen at the angle theta. It varies linearly across the image, between two drawn values, in a drawn
    direction.

    The targets are ((1 - rho) B^g)^(1/g), what the camera would see without the reflection, and (rho R^g)^(1/g).
    ``formation`` is (g, 1).

    Args:
        gamma: g.
        index: n, of glass.
        angle: range of theta in degrees.

    Raises:
        ConfigError: a range or a number out of range; the message says which values are allowed.
    """

    def __init__(self, gamma: float = 2.2, index: float = 1.474, angle: Sequence[float] = (10.0, 70.0)) -> None:
        self.gamma = checked_number("mixing.gamma", gamma, 1, 4)
        self.index = checked_number("mixing.index", index, 1.01, 4)
        self.angle = checked_range("mixing.angle", angle, 0, 90)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw the parameters of one mixture."""
        return {
            "angle": rng.uniform(*self.angle, 2).astype(np.float32),
            "direction": rng.uniform(0, 2 * math.pi),
        }

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form mixtures of (N, 3, H, W) layers in [0, 1].

        Args:
            background, reflection: the layers.
            parameters: "angle" (N, 2), theta in degrees where the image begins and ends along "direction" (N,), an
                angle in radians, 0 to the right and pi/2 down.
        """
        angles = ramp(
            parameters["angle"].to(background), parameters["direction"].to(background), *background.shape[-2:]
        )
        rho = reflectance(angles.deg2rad_(), self.index)
        # gains of encoded values: (rho R^g)^(1/g) = rho^(1/g) R
        r = reflection * power(rho, 1 / self.gamma)
        b = background * power_(1 - rho, 1 / self.gamma)
        mixture = power_(power(b, self.gamma).add_(power(r, self.gamma)), 1 / self.gamma).clamp_(max=1)
        return Mixture(mixture, b, r, formation=formation_of(mixture, self.gamma, 1))


def ramp(ends: Tensor, direction: Tensor, height: int, width: int) -> Tensor:
    """Values that vary linearly across an image.

    Args:
        ends: (N, 2), the values at the first and the last corner along the direction.
        direction: (N,), radians; 0 to the right, pi/2 down.
        height, width: of the image.

    Returns:
        (N, 1, height, width); pixels at the corners have the values ``ends``.
    """
    x = torch.linspace(-1, 1, width, dtype=ends.dtype, device=ends.device)
    y = torch.linspace(-1, 1, height, dtype=ends.dtype, device=ends.device)
    along, down = direction.cos(), direction.sin()
    slope = (ends[:, 1] - ends[:, 0]) / 2 / (along.abs() + down.abs())
    level = ends.mean(1)[:, None, None, None]
    return level + (slope * down)[:, None, None, None] * y[:, None] + (slope * along)[:, None, None, None] * x


def reflectance(theta: Tensor, index: float) -> Tensor:
    """The share of unpolarised light that a pane reflects.

    Args:
        theta: angle of incidence in radians, in [0, pi/2].
        index: of refraction, above 1.

    Returns:
        Of the same shape, in [0, 1].
    """
    outside = theta.cos().clamp_(min=0)
    inside = (1 - (theta.sin() / index).square()).sqrt()
    # Fresnel's equations by cosines, which also hold where the light falls straight
    across = ((outside - index * inside) / (outside + index * inside)).square()
    along = ((index * outside - inside) / (index * outside + inside)).square()
    # both surfaces of the pane, with all reflections between them: 2 r / (1 + r), for each polarisation
    return across / (1 + across) + along / (1 + along)
