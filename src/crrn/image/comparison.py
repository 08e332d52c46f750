"""SSIM, SI and L1 of two images as one loss: its definition, and the choice of the way in which it is computed."""

from __future__ import annotations

import torch
from torch import Tensor

from crrn.image.comparison_kernel import Comparison, Weights
from crrn.image.similarity import common_dtype, moments, si_map, ssim_map

__all__ = ["Weights", "compare"]


def compare(x: Tensor, y: Tensor, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
    """ssim (1 - mean SSIM) + si (1 - mean SI) + l1 mean |x - y|, with SSIM and SI as in `crrn.image.similarity`.

    With mx, my, s, p the local means of x, y, x^2 + y^2, x y at each of n places, SSIM = l c and SI = c, where

        u = 1 / (mx^2 + my^2 + C1)        v = 1 / (s - mx^2 - my^2 + C2)
        l = (2 mx my + C1) u              c = (2 (p - mx my) + C2) v

    and the gradient with respect to x is, G being the transpose of the Gaussian filter and N the number of pixels,

        -2/n (G(my (h - e) + mx (c e - l h)) - x G(c e) + y G(e)) + l1/N sign(x - y)
        e = (ssim l + si) v        h = ssim c u

    and with x and y exchanged that with respect to y. It is computed along with the value, block by block, if it is
    wanted at all, and nothing else is kept for the backward pass. A second derivative is refused (RuntimeError). Code
    that is compiled gets the plain formulas, which the compiler fuses itself.

    Args:
        x: (N, C, H, W), H, W >= 11 where a term is `ssim` or `si`; computed in float32, or in float64 if given so, also
            under autocast.
        y: the same shape.
        weights: of the terms, at least one.

    Returns:
        The weighted sum, and the value of each term that has a weight, without it, detached.

    Raises:
        ValueError: the images differ in shape, or are smaller than the window that a term needs.
    """
    dtype = common_dtype(x, y)
    x, y = x.to(dtype), y.to(dtype)
    if not (weights.ssim or weights.si):
        value = (x - y).abs().mean()
        return weights.l1 * value, {"l1": value.detach()}
    if torch.compiler.is_compiling():
        total, *values = _plain(x, y, weights)
    else:
        total, *values = Comparison.apply(x, y, weights, torch.is_grad_enabled())
    return total, {name: value for name, value in zip(Weights._fields, values, strict=True) if getattr(weights, name)}


def _plain(x: Tensor, y: Tensor, weights: Weights) -> tuple[Tensor, ...]:
    """The sum and the three terms by operations that can be traced."""
    statistics = moments(x, y)
    terms = 1 - ssim_map(statistics).mean(), 1 - si_map(statistics).mean(), (x - y).abs().mean()
    total = sum((weight * term for weight, term in zip(weights, terms, strict=True)), x.new_zeros(()))
    return total, *(term.detach() for term in terms)
