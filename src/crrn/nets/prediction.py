"""Prediction settings: at which size and how strongly a network is meant to work on photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from crrn.errors import ConfigError

LEAST_SIDE, MOST_STRENGTH = 32, 150


@dataclass(frozen=True)
class Prediction:
    """How a remover works on photos. A network's file holds its own settings; solvers have the defaults.

    Attributes:
        working_size: short side in pixels of the copy that the remover sees; None: the photo's own size.
        strength: 0 gives the photo, 100 the estimate, 150 half as much change again.

    Raises:
        ConfigError: a value is out of range.
    """

    working_size: int | None = None
    strength: float = 100

    def __post_init__(self) -> None:
        side, strength = self.working_size, self.strength
        if side is not None and (type(side) is not int or side < LEAST_SIDE):
            raise ConfigError(
                f"working_size={side!r} is out of range: give auto, native, or a short side of {LEAST_SIDE} pixels or "
                "more, such as working_size=224."
            )
        if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= MOST_STRENGTH:
            raise ConfigError(
                f"strength={strength!r} is out of range: give 0 (the photo) to {MOST_STRENGTH}; 100 is the estimate."
            )

    def chosen(self, working_size: int | str | None = "auto", strength: float | None = None) -> Prediction:
        """These settings, or what a user wants instead.

        Args:
            working_size: "auto" keeps the network's; "native" or None is the photo's own size; else pixels.
            strength: None keeps the network's.

        Raises:
            ConfigError: a value is out of range.
        """
        wanted: Any = {"auto": self.working_size, "native": None}.get(str(working_size), working_size)
        return Prediction(wanted, self.strength if strength is None else strength)

    def record(self) -> dict[str, Any]:
        """The settings as plain values, as they stand in a file."""
        return asdict(self)

    def describe(self) -> str:
        """The settings in words, such as "working size 224, strength 80"."""
        size = "the photo's own size" if self.working_size is None else f"working size {self.working_size}"
        return size if self.strength == 100 else f"{size}, strength {self.strength:g}"


def prediction_of(remover: nn.Module) -> Prediction:
    """A remover's own settings; the defaults where it has none."""
    settings = getattr(remover, "prediction", None)
    return settings if isinstance(settings, Prediction) else Prediction()


def set_prediction(network: nn.Module, prediction: Prediction) -> None:
    """Gives a network its settings, which `prediction_of` tells and its file keeps."""
    vars(network)["prediction"] = prediction


def prediction_from(record: Mapping[str, Any]) -> Prediction:
    """The settings in a file's record {"net": ..., "prediction": {...}}; the defaults where it has none.

    Raises:
        ConfigError: a value is out of range.
        TypeError: a setting is unknown.
    """
    return Prediction(**record.get("prediction", {}))
