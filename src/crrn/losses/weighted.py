"""The weighted sum of the terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from crrn.errors import ConfigError, kind_of
from crrn.image.comparison import Weights, compare
from crrn.image.similarity import common_dtype
from crrn.layers import Layers
from crrn.losses.terms import TERMS, derivative_l1, exclusion, multiscale_l1, reconstruction
from crrn.mixing import Mixture
from crrn.plugins import named

Term = Callable[[Tensor, Tensor], Tensor]
"""From an estimate and its target, (N, C, H, W) each, to a scalar."""

OF_ERROR: dict[str, Callable[[Tensor], Tensor]] = {
    "mse": lambda error: error.square().mean(),
    "derivative_l1": derivative_l1,
    "multiscale_l1": multiscale_l1,
}
"""The terms that depend on the difference of estimate and target alone, apart from "l1", which `compare` computes."""

PAIR = ("background", "reflection")
"""The layers that "exclusion" and "reconstruction" look at."""


class ReconstructionLoss(nn.Module):
    """Weighted sum of named terms on the three layers, and of two terms on background and reflection together.

    The terms on a layer are:

    - "ssim": 1 - mean SSIM (Eq. 4), "si": 1 - mean SI (Eq. 5), see `crrn.image.similarity`,
    - "l1": mean absolute difference, "mse": mean squared difference,
    - "derivative_l1" and "multiscale_l1", see `TERMS`.

    A term whose weight is absent, None or 0 is not computed. Eq. 7 is background={"ssim": 0.8, "l1": 1},
    reflection={"ssim": 1}, gradient={"si": 1}: gamma = 0.8 multiplies only the background's SSIM.

    Args:
        background, reflection, gradient: weight of each term on that layer.
        exclusion: weight of `crrn.losses.exclusion`, which penalises edges of both layers at the same places.
        reconstruction: weight of `crrn.losses.reconstruction`, which compares the mixture with that of the layers.
        terms: terms of your own by name. The weights of a layer may then name them. A term is a callable, or the full
            name of one, such as "mylab.losses.contrast". It takes an estimate and its target, (N, C, H, W), float32.
            It returns a scalar that is 0 where both are black. A module's parameters are not trained.

    Raises:
        ConfigError: a term is unknown or cannot be imported, a weight is negative or not a number, or no term is left.
    """

    def __init__(
        self,
        background: Mapping[str, float | None] | None = None,
        reflection: Mapping[str, float | None] | None = None,
        gradient: Mapping[str, float | None] | None = None,
        exclusion: float | None = None,
        reconstruction: float | None = None,
        terms: Mapping[str, Term | str] | None = None,
    ) -> None:
        super().__init__()
        layers = {"background": background, "reflection": reflection, "gradient": gradient}
        # Not registered: a term's weights belong neither to a checkpoint nor to an average of the network's.
        self.terms = {name: _own_term(name, term) for name, term in (terms or {}).items()}
        known = (*TERMS, *self.terms)
        weights = {layer: _weights(layer, given or {}, known) for layer, given in layers.items()}
        self.weights = {layer: terms for layer, terms in weights.items() if terms}
        self.exclusion = _weight("loss.exclusion", exclusion)
        self.reconstruction = _weight("loss.reconstruction", reconstruction)
        for name in self.terms:
            if not any(name in (given or {}) for given in layers.values()):
                raise ConfigError(f"loss.terms.{name} has no weight: give one, such as loss.background.{name}=0.1")
        if not (self.weights or self.exclusion or self.reconstruction):
            raise ConfigError("the loss has no term: give at least one weight, e.g. loss.background.l1=1")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that a term looks at; a target of another layer need not be made."""
        together = PAIR if self.exclusion or self.reconstruction else ()
        return tuple(layer for layer in Layers._fields if layer in self.weights or layer in together)

    def foreign_to(self, estimates: Collection[str]) -> dict[str, str]:
        """The settings whose terms look at a layer that is not estimated, with that layer, such as {"exclusion":
        "reflection"}."""
        own = {layer: layer for layer in self.weights if layer not in estimates}
        missing = [layer for layer in PAIR if layer not in estimates]
        together = [term for term in ("exclusion", "reconstruction") if getattr(self, term)]
        return own | {term: missing[0] for term in together if missing}

    def forward(
        self, estimate: Layers, target: Layers, batch: Mixture | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare estimated layers, unclipped, with their targets. In float32 also under autocast; float64 stays.

        Args:
            estimate: what a network returned, (N, C, H, W) each; H, W >= 11 where a term is "ssim" or "si".
            target: the true layers, of the same shapes.
            batch: what the target was made from. In rows with an unknown reflection, each term on the reflection is 0
                (SSIM and SI up to float32 rounding, 1e-7) and has no gradient. The means still divide by the whole
                batch, so that the ranks of a distributed run agree. "reconstruction" needs the batch. None: the
                reflection is known everywhere.

        Returns:
            The weighted sum, and each term's value without its weight, detached, under names such as "background_ssim"
            and "exclusion".

        Raises:
            ConfigError: the network or the data does not have the layer of a term, or a term of one's own returns no
                scalar or has no gradient.
            ValueError: the loss has "reconstruction", and there is no batch.
        """
        parts: list[Tensor] = []
        values: dict[str, Tensor] = {}
        for layer, weights in self.weights.items():
            x, y = getattr(estimate, layer), getattr(target, layer)
            term = f"{layer}.{next(iter(weights))}"
            _require(x, layer, term, "the network does not estimate")
            _require(y, layer, term, "the data does not give")
            if layer == "reflection" and batch is not None and batch.reflection_known is not None:
                x, y = _where_known(x, batch.reflection_known), _where_known(y, batch.reflection_known)
            weighted, terms = self._compare(x, y, weights)
            values |= {f"{layer}_{term}": value for term, value in terms.items()}
            parts.append(weighted)
        for term in ("exclusion", "reconstruction"):
            weight = getattr(self, term)
            if weight:
                value = self._together(term, estimate, batch)
                values[term] = value.detach()
                parts.append(weight * value)
        return sum(parts[1:], parts[0]), values

    def _compare(self, x: Tensor, y: Tensor, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the terms, and each one's value, detached."""
        closed = {name: weight for name, weight in weights.items() if name in Weights._fields}
        total, values = compare(x, y, Weights(**closed)) if closed else (None, {})
        dtype = common_dtype(x, y)
        if any(name in OF_ERROR for name in weights):
            error = x.to(dtype) - y
        for name in (name for name in weights if name not in closed):
            value = OF_ERROR[name](error) if name in OF_ERROR else self._own(name, x.to(dtype), y.to(dtype))
            total = weights[name] * value if total is None else total + weights[name] * value
            values[name] = value.detach()
        assert total is not None  # there is a term
        return total, values

    def _own(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """The value of a term of one's own, checked."""
        term = self.terms[name]
        if isinstance(term, nn.Module):
            term.to(x.device)
        with torch.autocast(x.device.type, enabled=False):
            value = term(x, y)
        if not isinstance(value, Tensor) or value.ndim:
            raise ConfigError(f"loss.terms.{name} returns {kind_of(value)}: return a scalar, such as a mean")
        if torch.is_grad_enabled() and x.requires_grad and not value.requires_grad:
            raise ConfigError(
                f"loss.terms.{name} has no gradient: use torch's functions on the estimate, without detach()"
            )
        return value

    @staticmethod
    def _together(term: str, estimate: Layers, batch: Mixture | None) -> Tensor:
        """The value of a term on both layers."""
        for layer in PAIR:
            _require(getattr(estimate, layer), layer, term, "the network does not estimate")
        assert estimate.background is not None and estimate.reflection is not None
        dtype = common_dtype(estimate.background, estimate.reflection)
        background, reflection = estimate.background.to(dtype), estimate.reflection.to(dtype)
        with torch.autocast(background.device.type, enabled=False):
            if term == "exclusion":
                return exclusion(background, reflection)
            if batch is None:
                raise ValueError("the term 'reconstruction' needs the batch: call loss(estimate, target, batch)")
            return reconstruction(background, reflection, batch.mixture, batch.formation)

    def extra_repr(self) -> str:
        layers = [f"{layer}={terms}" for layer, terms in self.weights.items()]
        together = [f"{term}={getattr(self, term)}" for term in ("exclusion", "reconstruction") if getattr(self, term)]
        return ", ".join([*layers, *together])


def _require(image: Tensor | None, layer: str, term: str, lacking: str) -> None:
    if image is None:
        off = term if "." not in term else layer
        raise ConfigError(
            f"loss.{term} is on a layer that {lacking}: set loss.{off}=null or choose a network and data with the "
            f"{layer}"
        )


def _where_known(image: Tensor, known: Tensor) -> Tensor:
    """The image (N, C, H, W), black in rows that are not known (N,). Equal black images make each term 0, without a
    wait for the device."""
    return torch.where(known[:, None, None, None], image, 0)


def _own_term(name: str, term: Term | str) -> Term:
    """A term of one's own, checked and imported."""
    setting, example = f"loss.terms.{name}", "mylab.losses.contrast"
    if not name.isidentifier() or name in TERMS:
        raise ConfigError(f"{setting}: the name {name!r} is taken or has other signs than letters, digits and _")
    found = named(setting, term, example) if isinstance(term, str) else term
    if isinstance(found, type) or not callable(found):
        raise ConfigError(
            f"{setting}={found!r} is not a term: give a function's name, such as {example}, or a class that has "
            f"__call__ in {setting}._target_"
        )
    return found.requires_grad_(False).eval() if isinstance(found, nn.Module) else found


def _weights(layer: str, terms: Mapping[str, float | None], known: Collection[str]) -> dict[str, float]:
    """The terms with a weight, checked."""
    for term in terms:
        if term not in known:
            raise ConfigError(
                f"loss.{layer}.{term} is not a term: choose of {', '.join(known)}, or name yours in loss.terms.{term}"
            )
    weights = {term: _weight(f"loss.{layer}.{term}", weight) for term, weight in terms.items()}
    return {term: weight for term, weight in weights.items() if weight}


def _weight(setting: str, weight: float | None) -> float:
    """A weight, checked; 0 for None."""
    if weight is not None and not (isinstance(weight, int | float) and 0 <= weight < math.inf):
        raise ConfigError(f"{setting}={weight} is not a weight: give a number that is not negative, or null")
    return float(weight or 0)
