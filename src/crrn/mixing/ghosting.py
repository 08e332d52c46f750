"""Mixture formation with the double image of a thick pane."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from crrn.mixing.model import Drawn, Mixture, Parameters, checked_number, checked_range, formation_of, per_image
from crrn.mixing.operations import length_scale, shifted


class GhostingMixing:
    """A reflection from the front and from the back of a thick pane (Shih et al., CVPR 2015; Wen et al., CVPR 2019).

    R is convolved with two pulses, r = beta (R + c shift(R)), and I = clip(alpha B + r). The second pulse is weaker,
    c < 1. For a pane of thickness t and index n at the angle theta, the distance of the second reflection is
    t sin(2 theta) / sqrt(n^2 - sin(theta)^2) (Shih et al.). Thickness, angle and the direction in the image are drawn
    uniformly. r is clipped to 1.

    The targets are B, not dimmed, and r with both images. ``formation`` is (1, alpha).

    Args:
        alpha: range of the background's weight.
        beta: range of the reflection's weight.
        attenuation: range of c.
        thickness: range of t in millimetres.
        angle: range of theta in degrees.
        index: n, of glass.
        pixels_per_mm: length of a millimetre of the pane in the image, in pixels at a short side of 224.

    Raises:
        ConfigError: a range or a number out of range; the message says which values are allowed.
    """

    def __init__(
        self,
        alpha: Sequence[float] = (0.8, 1.0),
        beta: Sequence[float] = (0.1, 0.4),
        attenuation: Sequence[float] = (0.5, 1.0),
        thickness: Sequence[float] = (3.0, 10.0),
        angle: Sequence[float] = (10.0, 60.0),
        index: float = 1.474,
        pixels_per_mm: float = 1.0,
    ) -> None:
        self.alpha = checked_range("mixing.alpha", alpha, 0, 1)
        self.beta = checked_range("mixing.beta", beta, 0, 1)
        self.attenuation = checked_range("mixing.attenuation", attenuation, 0, 1)
        self.thickness = checked_range("mixing.thickness", thickness, 0, 100)
        self.angle = checked_range("mixing.angle", angle, 0, 90)
        self.index = checked_number("mixing.index", index, 1.01, 4)
        self.pixels_per_mm = checked_number("mixing.pixels_per_mm", pixels_per_mm, 0, 100)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw the parameters of one mixture."""
        thickness = rng.uniform(*self.thickness)
        theta = math.radians(rng.uniform(*self.angle))
        direction = rng.uniform(0, 2 * math.pi)
        length = thickness * math.sin(2 * theta) / math.sqrt(self.index**2 - math.sin(theta) ** 2)
        length *= self.pixels_per_mm
        return {
            "alpha": rng.uniform(*self.alpha),
            "beta": rng.uniform(*self.beta),
            "attenuation": rng.uniform(*self.attenuation),
            "shift": np.array([length * math.cos(direction), length * math.sin(direction)], dtype=np.float32),
        }

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form mixtures of (N, 3, H, W) layers in [0, 1].

        Args:
            background, reflection: the layers.
            parameters: (N,) each, but "shift" (N, 2) as (dx, dy) in pixels at a short side of 224.
        """
        ghost = shifted(reflection, parameters["shift"] * length_scale(reflection))
        r = ghost.mul_(per_image(parameters["attenuation"], ghost)).add_(reflection)
        r.mul_(per_image(parameters["beta"], r)).clamp_(max=1)
        mixture = (background * per_image(parameters["alpha"], background)).add_(r).clamp_(max=1)
        return Mixture(mixture, background, r, formation=formation_of(mixture, 1, parameters["alpha"]))
