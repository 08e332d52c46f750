"""A formation model of one's own: `draw` and a call."""

import numpy as np
from torch import Tensor

from crrn.mixing import Mixture


class Haze:
    """The reflection is spread over the whole photo: I = (1 - h) B + h mean(R).

    Args:
        strength: [low, high], from which h is drawn.
    """

    def __init__(self, strength: tuple[float, float] = (0.1, 0.4)) -> None:
        self.strength = strength

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """The parameters of one mixture; nothing else about it is random."""
        return {"strength": rng.uniform(*self.strength)}

    def __call__(self, background: Tensor, reflection: Tensor, parameters: dict[str, Tensor]) -> Mixture:
        """A batch from layers (N, 3, H, W) in [0, 1], which it does not change, and parameters (N,)."""
        strength = parameters["strength"].view(-1, 1, 1, 1)
        haze = (strength * reflection.mean((2, 3), keepdim=True)).expand_as(background)
        return Mixture((1 - strength) * background + haze, background, haze)
