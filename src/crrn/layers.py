"""The contract of every reflection remover: a mixture goes in, its layers come out."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from torch import Tensor, nn


class Layers(NamedTuple):
    """What a remover estimates of a mixture; what it does not estimate is None.

    Attributes:
        background: B, the scene behind the glass, (N, 3, H, W), nominally in [0, 1], unclipped.
        reflection: R, what the glass reflects, (N, 3, H, W), nominally in [0, 1], unclipped.
        gradient: the gradient magnitude of B as the network means it, (N, 1, H, W), nominally in [0, 1].
    """

    background: Tensor | None = None
    reflection: Tensor | None = None
    gradient: Tensor | None = None


class Remover(nn.Module):
    """A reflection remover: from a mixture (N, 3, H, W) in [0, 1] to :class:`Layers` of the same size.

    Attributes:
        estimates: the layers that it estimates, of ``Layers._fields``.
    """

    estimates: ClassVar[tuple[str, ...]]
    __call__: Callable[..., Layers]
