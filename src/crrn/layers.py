"""The contract of every reflection remover: a mixture goes in, its layers come out."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Layers(NamedTuple):
    """What a remover estimates of a mixture; what it does not estimate is None.

    Attributes:
        background: B, the scene behind the glass, (N, 3, H, W), nominally in [0, 1], unclipped.
        reflection: R, what the glass reflects, (N, 3, H, W), nominally in [0, 1], unclipped.
        gradient: the gradient magnitude of B, (N, 1, H, W), in [0, 1].
    """

    background: Tensor | None = None
    reflection: Tensor | None = None
    gradient: Tensor | None = None
