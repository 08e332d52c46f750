"""The interface of a formation model, what it gives, and how models check their settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crrn.errors import ConfigError

Drawn = dict[str, float | int | NDArray[np.float32]]
"""The parameters of one mixture by name; a name always has the same shape."""

Parameters = Mapping[str, Any]
"""The parameters of a batch by name: float32 tensors (N, *shape) on the images' device; choices (ints)
as int64 arrays (N,)."""


class Mixing(Protocol):
    """A formation model."""

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw the parameters of one mixture; nothing else about it is random."""
        ...

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form a batch of mixtures from layers (N, 3, H, W) in [0, 1], which it does not change."""
        ...


class Mixture(NamedTuple):
    """A batch of mixtures with their ground truth; the images are (N, 3, H, W), float in [0, 1].

    Attributes:
        mixture: I, what the camera sees through the glass.
        background: B, the target of the background estimate.
        reflection: R, the target of the reflection estimate; zeros in rows where it is unknown.
        reflection_known: (N,) bool, whether the reflection is known; it is not in real pairs without that layer. None:
            known in all rows.
        formation: (N, 2), gamma g and background gain a of I = clip(((a B)^g + R^g)^(1/g)). NaN in rows without such a
            formula; None if no row has one.
    """

    mixture: Tensor
    background: Tensor
    reflection: Tensor
    reflection_known: Tensor | None = None
    formation: Tensor | None = None

    def rows(self, part: slice | int) -> Mixture:
        """The fields of some rows, without copying; of one row, each field without its first dimension."""
        return Mixture._make(None if field is None else field[part] for field in self)


def checked_model(setting: str, model: Any) -> Any:
    """Give ``model``.

    Raises:
        ConfigError: unless it is a formation model, see ``Mixing``; the message names the setting ``setting``.
    """
    if isinstance(model, type) or not callable(model) or not callable(getattr(model, "draw", None)):
        raise ConfigError(
            f"{setting}={model!r} is not a formation model: name a class with draw and __call__ in {setting}._target_, "
            "e.g. crrn.mixing.LinearMixing."
        )
    return model


def checked_range(name: str, bounds: Sequence[float], lowest: float, highest: float) -> tuple[float, float]:
    """Give ``bounds`` as (low, high).

    Raises:
        ConfigError: unless there are two numbers with lowest <= low <= high <= highest; the message names the setting
            ``name``.
    """
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        low = high = math.nan
    if not lowest <= low <= high <= highest:
        shown = list(bounds) if isinstance(bounds, tuple) else bounds
        raise ConfigError(
            f"{name}={shown} is not a range: give [low, high] with {lowest:g} <= low <= high <= {highest:g}."
        )
    return low, high


def checked_number(name: str, value: float, lowest: float, highest: float) -> float:
    """Give ``value`` as a float.

    Raises:
        ConfigError: unless it is a number with lowest <= value <= highest; the message names the setting ``name``.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not lowest <= number <= highest:
        raise ConfigError(f"{name}={value} is out of range: give a number from {lowest:g} to {highest:g}.")
    return number


def per_image(parameter: Tensor, like: Tensor) -> Tensor:
    """Shape one parameter (N,) as (N, 1, 1, 1), with the type and device of the images ``like``."""
    return parameter.to(like).view(-1, 1, 1, 1)


def formation_of(mixture: Tensor, gamma: Tensor | float, gain: Tensor | float) -> Tensor:
    """The field ``formation`` of a ``Mixture``, (N, 2), from its two columns: (N,), or a number for all rows."""
    formation = mixture.new_empty(len(mixture), 2)
    formation[:, 0] = gamma
    formation[:, 1] = gain
    return formation
