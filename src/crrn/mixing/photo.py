"""A formation model that chooses one of several for each mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crrn.errors import ConfigError
from crrn.mixing.model import Drawn, Mixing, Mixture, Parameters, checked_model
from crrn.mixing.operations import row_index


class PhotoMixing:
    """One of several formation models for each mixture, drawn by weight: more robust than any one of them.

    Args:
        models: formation models by name; any object with ``draw`` and a call is one, also a user's own.
        weights: a weight for each model, in any unit; a model of weight 0 is never chosen.

    Attributes:
        needs_pairs: whether a model that is chosen takes its reflections from real pairs.

    Raises:
        ConfigError: no models, something that is no formation model, a name with a dot, a weight that is missing,
            negative or of an unknown model, or weights that are all 0.
    """

    def __init__(self, models: Mapping[str, Mixing], weights: Mapping[str, float]) -> None:
        if not models:
            raise ConfigError(
                "mixing.models is empty: give one formation model or more, as conf/mixing/photo.yaml does."
            )
        for name, model in models.items():
            checked_model(f"mixing.models.{name}", model)
            if "." in name:
                raise ConfigError(f"mixing.models: the name {name!r} has a dot: use letters, digits and underscores.")
            if name not in weights:
                raise ConfigError(
                    f"mixing.weights has no weight for mixing.models.{name}: set mixing.weights.{name}, e.g. to 0.2, "
                    "or to 0 to leave the model out."
                )
        for name, weight in weights.items():
            if name not in models:
                raise ConfigError(
                    f"mixing.weights.{name} is a weight for no model: mixing.models has {', '.join(models)}."
                )
            if not (isinstance(weight, int | float) and 0 <= weight < math.inf):
                raise ConfigError(f"mixing.weights.{name}={weight} is not a weight: give a number of 0 or more.")
        cumulative = np.cumsum([float(weights[name]) for name in models])
        if cumulative[-1] == 0:
            raise ConfigError("mixing.weights are all 0: give at least one model a weight above 0.")
        self.models = dict(models)
        self.needs_pairs = any(weights[name] and getattr(model, "needs_pairs", False) for name, model in models.items())
        self._cumulative = cumulative / cumulative[-1]

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw "model", the number of a model, and the parameters of all models as "NAME.PARAMETER"."""
        drawn: Drawn = {"model": int(np.searchsorted(self._cumulative, rng.random(), side="right"))}
        for name, model in self.models.items():
            drawn.update({f"{name}.{key}": value for key, value in model.draw(rng).items()})
        return drawn

    def uses_pair(self, parameters: Mapping[str, Any]) -> bool:
        """Whether the mixture with these parameters, as drawn, takes its reflection from a real pair."""
        name = list(self.models)[int(parameters["model"])]
        uses_pair = getattr(self.models[name], "uses_pair", None)
        return uses_pair is not None and bool(uses_pair(_own(name, parameters)))

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form mixtures of (N, 3, H, W) layers in [0, 1], each by the model that its "model" (N,) names.

        Each model forms its own rows as one batch, so that each row is computed once.
        """
        chosen = parameters["model"]
        chosen = np.asarray(chosen.cpu() if isinstance(chosen, Tensor) else chosen).astype(np.int64)
        groups = [(name, np.flatnonzero(chosen == number)) for number, name in enumerate(self.models)]
        parts = []
        for name, rows in groups:
            own = _own(name, parameters)
            if len(rows) == len(background):
                return self.models[name](background, reflection, own)
            if len(rows):
                index = row_index(rows, background.device)
                picked = {key: _picked(value, rows, index) for key, value in own.items()}
                own_photos = background.index_select(0, index), reflection.index_select(0, index)
                parts.append((index, self.models[name](*own_photos, picked)))
        return _merged(parts, len(background))


def _own(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of one model, under its own names for them."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in parameters.items() if key.startswith(prefix)}


def _picked(value: Tensor | NDArray[np.int64], rows: NDArray[np.int64], index: Tensor) -> Tensor | NDArray[np.int64]:
    return value[index.to(value.device)] if isinstance(value, Tensor) else value[rows]


def _merged(parts: list[tuple[Tensor, Mixture]], count: int) -> Mixture:
    """The batch of ``count`` rows that the parts, with their rows' numbers, make up."""
    merged: list[Tensor | None] = []
    for field in Mixture._fields:
        values = [(index, getattr(part, field)) for index, part in parts]
        given = [(index, value) for index, value in values if value is not None]
        if not given:
            merged.append(None)
            continue
        first = given[0][1]
        whole = first.new_empty(count, *first.shape[1:])
        if len(given) < len(values):  # what a row has whose model says nothing: see Mixture
            whole.fill_(True if field == "reflection_known" else math.nan)
        for index, value in given:
            whole.index_copy_(0, index, value)
        merged.append(whole)
    return Mixture._make(merged)
