"""The paper's mixture formation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from crrn.errors import ConfigError
from crrn.mixing.model import Drawn, Mixture, Parameters, checked_range, formation_of, per_image


class PaperMixing:
    """I = clip(alpha * B + beta * R), alpha ~ U[0.8, 1], beta ~ U[0.1, 0.5] (the paper, section 3.1).

    The target of the background is B, unscaled. The target of the reflection is beta * R, its visible part (our choice;
    the paper does not say), or R as captured. ``formation`` is (1, alpha). With R as captured it is None, because alpha
    and the targets do not give I.

    Args:
        alpha: range of the background's weight.
        beta: range of the reflection's weight.
        reflection_target: "visible" for beta * R, "captured" for R.

    Raises:
        ConfigError: a range that is not 0 <= low <= high <= 1, or an unknown ``reflection_target``.
    """

    def __init__(
        self,
        alpha: Sequence[float] = (0.8, 1.0),
        beta: Sequence[float] = (0.1, 0.5),
        reflection_target: str = "visible",
    ) -> None:
        self.alpha = checked_range("mixing.alpha", alpha, 0, 1)
        self.beta = checked_range("mixing.beta", beta, 0, 1)
        if reflection_target not in ("visible", "captured"):
            raise ConfigError(
                f"mixing.reflection_target={reflection_target!r} is unknown: give 'visible' (beta * R, as seen in the "
                "mixture) or 'captured' (R)."
            )
        self.reflection_target = reflection_target

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw alpha and beta of one mixture, uniformly from their ranges."""
        return {"alpha": rng.uniform(*self.alpha), "beta": rng.uniform(*self.beta)}

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form mixtures of (N, 3, H, W) layers in [0, 1] with the parameters "alpha" and "beta", each (N,)."""
        visible = per_image(parameters["beta"], reflection) * reflection
        mixture = (per_image(parameters["alpha"], background) * background).add_(visible).clamp_(0, 1)
        if self.reflection_target == "captured":
            return Mixture(mixture, background, reflection)
        return Mixture(mixture, background, visible, formation=formation_of(mixture, 1, parameters["alpha"]))
