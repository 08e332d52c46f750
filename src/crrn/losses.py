"""The losses of CRRN (paper Eq. 3-7) and of CEILNet as named terms with weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from crrn.errors import ConfigError
from crrn.image.comparison import Weights, compare
from crrn.image.similarity import common_dtype
from crrn.layers import Layers
from crrn.mixing import Mixture

TERMS = ("ssim", "si", "l1", "mse", "derivative_l1")
"""Of an estimate x and its target y, each a mean over all pixels: 1 - SSIM(x, y); 1 - SI(x, y); |x - y|; (x - y)^2;
|d(x - y)| along W plus that along H, d the forward differences inside the image."""


class ReconstructionLoss(nn.Module):
    """Weighted sum of named terms on the three layers.

    A term is "ssim" = 1 - mean SSIM (Eq. 4), "si" = 1 - mean SI (Eq. 5), "l1" = mean absolute difference, "mse" = mean
    squared difference or "derivative_l1", see `TERMS`; SSIM and SI are as in `crrn.image.similarity`. A weight that is
    absent, None or 0 leaves its term out: it is not computed. Eq. 7 is background={"ssim": 0.8, "l1": 1},
    reflection={"ssim": 1}, gradient={"si": 1}: gamma = 0.8 multiplies the background's SSIM alone.

    Args:
        background, reflection, gradient: weight of each term on that layer.

    Raises:
        ConfigError: a term is unknown, a weight negative or not a number, or no term is left.
    """

    def __init__(
        self,
        background: Mapping[str, float | None] | None = None,
        reflection: Mapping[str, float | None] | None = None,
        gradient: Mapping[str, float | None] | None = None,
    ) -> None:
        super().__init__()
        layers = {"background": background, "reflection": reflection, "gradient": gradient}
        weights = {layer: _weights(layer, terms or {}) for layer, terms in layers.items()}
        self.weights = {layer: terms for layer, terms in weights.items() if terms}
        if not self.weights:
            raise ConfigError("the loss has no term: give at least one weight, e.g. loss.background.l1=1")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that a term looks at; a target of another layer need not be made."""
        return tuple(self.weights)

    def forward(
        self, estimate: Layers, target: Layers, batch: Mixture | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare estimated layers, unclipped, with their targets; in float32 (float64 if given so), also under
        autocast.

        Args:
            estimate: what a network returned, (N, C, H, W) each; H, W >= 11 where a term is "ssim" or "si".
            target: the true layers, of the same shapes.
            batch: what the target was made from. In rows where its reflection is unknown, each term on the reflection
                is 0 (SSIM and SI up to float32 rounding, 1e-7) and has no gradient; the means still divide by the
                whole batch, so that the ranks of a distributed run agree. None: the reflection is known everywhere.

        Returns:
            The weighted sum, and each term's value without its weight, detached, under names such as "background_ssim".

        Raises:
            ConfigError: a term is on a layer that the network does not estimate or the data does not give.
        """
        total: Tensor | None = None
        values: dict[str, Tensor] = {}
        for layer, weights in self.weights.items():
            x, y = getattr(estimate, layer), getattr(target, layer)
            for side, image in (("the network does not estimate", x), ("the data does not give", y)):
                if image is None:
                    raise ConfigError(
                        f"loss.{layer}.{next(iter(weights))} is on a layer that {side}: set loss.{layer}=null or "
                        f"choose a network and data with the {layer}"
                    )
            if layer == "reflection" and batch is not None and batch.reflection_known is not None:
                x, y = _where_known(x, batch.reflection_known), _where_known(y, batch.reflection_known)
            weighted, terms = _compare(x, y, weights)
            values |= {f"{layer}_{term}": value for term, value in terms.items()}
            total = weighted if total is None else total + weighted
        assert total is not None  # the constructor saw to it
        return total, values

    def extra_repr(self) -> str:
        return ", ".join(f"{layer}={terms}" for layer, terms in self.weights.items())


def _where_known(image: Tensor, known: Tensor) -> Tensor:
    """The image (N, C, H, W), black in rows that are not known (N,). Equal black images make each term 0, without a
    wait for the device."""
    return torch.where(known[:, None, None, None], image, 0)


def _compare(x: Tensor, y: Tensor, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the terms, and each one's value, detached."""
    closed = {name: weight for name, weight in weights.items() if name in Weights._fields}
    total, values = compare(x, y, Weights(**closed)) if closed else (None, {})
    if len(closed) < len(weights):
        error = x.to(common_dtype(x, y)) - y
    for name in (name for name in weights if name not in closed):
        value = error.square().mean() if name == "mse" else _derivative_l1(error)
        total = weights[name] * value if total is None else total + weights[name] * value
        values[name] = value.detach()
    assert total is not None  # there is a term
    return total, values


def _derivative_l1(error: Tensor) -> Tensor:
    """Mean |forward difference| along W plus the same along H; 0 along a side of one pixel."""
    slopes = [error.diff(dim=dim).abs().mean() for dim in (-1, -2) if error.shape[dim] > 1]
    return torch.stack(slopes).sum() if slopes else 0 * error.sum()


def _weights(layer: str, terms: Mapping[str, float | None]) -> dict[str, float]:
    """The terms with a weight, checked."""
    for term, weight in terms.items():
        if term not in TERMS:
            raise ConfigError(f"loss.{layer}.{term} is not a term: choose of {', '.join(TERMS)}")
        if weight is not None and not (isinstance(weight, int | float) and 0 <= weight < math.inf):
            raise ConfigError(
                f"loss.{layer}.{term}={weight} is not a weight: give a number that is not negative, or null"
            )
    return {term: float(weight) for term, weight in terms.items() if weight}
