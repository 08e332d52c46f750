"""The remover that removes nothing: every other one is to beat it."""

from __future__ import annotations

from torch import Tensor

from crrn.layers import Layers, Remover


class Identity(Remover):
    """The background is the mixture, the reflection is 0."""

    estimates = ("background", "reflection")

    def forward(self, mixture: Tensor) -> Layers:
        """Layers of a mixture (N, 3, H, W) in [0, 1]."""
        return Layers(background=mixture, reflection=mixture.new_zeros(mixture.shape))
