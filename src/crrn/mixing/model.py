"""What every formation model gives, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from crrn.errors import ConfigError


class Mixture(NamedTuple):
    """A batch of mixtures with their ground truth; the images are (N, 3, H, W), float in [0, 1].

    Attributes:
        mixture: I, what the camera sees through the glass.
        background: B, the target of the background estimate.
        reflection: R, the target of the reflection estimate; zeros in rows where it is unknown.
        reflection_known: (N,) bool, whether the reflection is known; it is not in real pairs without that layer. None:
            known in all rows.
        formation: (N, 2), gamma g and background gain a of I = clip(((a B)^g + R^g)^(1/g)); NaN in rows where no such
            formula holds, None where it holds in no row.
    """

    mixture: Tensor
    background: Tensor
    reflection: Tensor
    reflection_known: Tensor | None = None
    formation: Tensor | None = None

    def rows(self, part: slice | int) -> Mixture:
        """The fields of some rows, without copying; of one row, each field without its first dimension."""
        return Mixture._make(None if field is None else field[part] for field in self)


def checked_range(name: str, bounds: Sequence[float], lowest: float, highest: float) -> tuple[float, float]:
    """Give ``bounds`` as (low, high).

    Raises:
        ConfigError: unless there are two numbers with lowest <= low <= high <= highest; the message names the setting
            ``name``.
    """
    values = tuple(float(bound) for bound in bounds)
    if len(values) != 2 or not lowest <= values[0] <= values[1] <= highest:
        raise ConfigError(
            f"{name}={list(bounds)} is not a range: give [low, high] with {lowest:g} <= low <= high <= {highest:g}."
        )
    return values[0], values[1]


def per_image(parameter: Tensor, like: Tensor) -> Tensor:
    """Shape one parameter (N,) as (N, 1, 1, 1), with the type and device of the images ``like``."""
    return parameter.to(like).view(-1, 1, 1, 1)
