"""Mixture formation with the reflection of a real pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from crrn.mixing.model import Drawn, Mixture, Parameters, checked_range, formation_of, per_image
from crrn.mixing.operations import power, power_


class TransferMixing:
    """The reflection that was photographed in a real pair, added in linear light to another photo (our own model).

    R is what the pair's photo shows above its background, in linear light, gamma-encoded. The data module makes it.
    With r = min(s R^g, 1), I = clip((B^g + r)^(1/g)).

    The targets are B and r^(1/g). ``formation`` is (g, 1).

    Args:
        gamma: range of g.
        scale: range of s.

    Attributes:
        needs_pairs: True.

    Raises:
        ConfigError: a range out of bounds; the message says which values are allowed.
    """

    needs_pairs = True

    def __init__(self, gamma: Sequence[float] = (1.8, 2.6), scale: Sequence[float] = (0.5, 1.5)) -> None:
        self.gamma = checked_range("mixing.gamma", gamma, 1, 4)
        self.scale = checked_range("mixing.scale", scale, 0, 10)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw g and s of one mixture, uniformly from their ranges."""
        return {"gamma": rng.uniform(*self.gamma), "scale": rng.uniform(*self.scale)}

    def uses_pair(self, parameters: Mapping[str, Any]) -> bool:
        """Every mixture takes its reflection from a real pair."""
        return True

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form mixtures of (N, 3, H, W) layers in [0, 1] with the parameters "gamma" and "scale", each (N,)."""
        gamma = per_image(parameters["gamma"], background)
        r = (reflection * per_image(parameters["scale"], reflection).pow(1 / gamma)).clamp_(max=1)
        mixture = power_(power(background, gamma).add_(power(r, gamma)), 1 / gamma).clamp_(max=1)
        return Mixture(mixture, background, r, formation=formation_of(mixture, parameters["gamma"], 1))
