"""SSIM, SI and L1 of two images with their gradient written out, block by block: the fast form of `comparison`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from crrn.image.filters import gaussian_kernel
from crrn.image.similarity import C1, C2, SIGMA, WINDOW

LANES = 16
"""Planes that a CPU handles side by side, interleaved pixel by pixel: as many float32 as fill a vector register."""

BLOCK = 2**19
"""About so many values of a map are handled at once on a CPU (our choice): few enough that a block's dozen maps stay
in the cache and the allocator has their memory at hand, many enough that the calls cost little."""

STRIP = 40
"""Rows of a block at least: twice the rows around them that their gradient depends on."""


class Weights(NamedTuple):
    """What each term counts in the sum; one of weight 0 is not computed."""

    ssim: float = 0
    si: float = 0
    l1: float = 0


class Comparison(torch.autograd.Function):
    """x, y, weights, whether gradients may be wanted -> the sum and the three terms."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weights: Weights, wanted: bool) -> tuple[Tensor, ...]:
        height, width = x.shape[-2:]
        if min(height, width) < WINDOW:
            raise ValueError(f"an image of {height}x{width} is too small for a window of {WINDOW}")
        images = [image.reshape(-1, height, width) for image in (x, y)]
        gradients = {
            side: torch.empty_like(planes)
            for side, (planes, needed) in enumerate(zip(images, ctx.needs_input_grad, strict=False))
            if wanted and needed
        }
        places = len(images[0]) * (height - WINDOW + 1) * (width - WINDOW + 1)
        counts = places, places, x.numel()
        factors = Weights(*(weight / count for weight, count in zip(weights, counts, strict=True)))
        kernel = gaussian_kernel(WINDOW, SIGMA, x.dtype, x.device)
        sums = []
        with torch.autocast(x.device.type, enabled=False):
            for part, lanes, rows in _blocks(images[0]):
                a, b = (planes[part].unflatten(0, (-1, lanes)) for planes in images)
                outs = {side: planes[part].unflatten(0, (-1, lanes)) for side, planes in gradients.items()}
                sums.append(_block(a, b, outs, rows, kernel, factors))
        means = [total / count for total, count in zip(torch.stack(sums).sum(0), counts, strict=True)]
        terms = [1 - means[0], 1 - means[1], means[2]]
        total = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        total, *terms = (value.to(x.dtype) for value in (total, *terms))
        ctx.mark_non_differentiable(*terms)
        ctx.save_for_backward(*(gradients[side].view(x.shape) if side in gradients else None for side in (0, 1)))
        return total, *terms

    @staticmethod
    def backward(ctx: Any, factor: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("the gradient of SSIM and SI cannot be differentiated again: leave create_graph out")
        # `loss.backward()` comes with the factor 1. On a CPU looking is free, and saves a pass over the gradients.
        same = factor.device.type == "cpu" and factor.item() == 1
        gradients = (saved if saved is None or same else saved * factor for saved in ctx.saved_tensors)
        return *gradients, None, None


def _blocks(planes: Tensor) -> Iterator[tuple[slice, int, tuple[int, int]]]:
    """What to handle at once of planes (P, H, W): which planes, how many of them side by side, and which rows."""
    count, height, width = planes.shape
    if planes.device.type != "cpu":
        yield slice(count), count, (0, height)
        return
    whole = count - count % LANES
    size = LANES * height * width
    step = LANES * max(1, BLOCK // size)
    parts = [(slice(start, min(start + step, whole)), LANES) for start in range(0, whole, step)]
    if whole < count:
        parts.append((slice(whole, count), count - whole))
    strips = max(1, min(round(size / BLOCK), height // STRIP))
    for part, lanes in parts:
        for strip in range(strips):
            yield part, lanes, (strip * height // strips, (strip + 1) * height // strips)


def _block(
    x: Tensor, y: Tensor, outs: dict[int, Tensor], rows: tuple[int, int], kernel: Tensor, factors: Weights
) -> Tensor:
    """The sums of SSIM, SI and |x - y| over some rows of planes (B, L, H, W); writes there the gradients to `outs`,
    that with respect to x to 0 and to y to 1.

    The places counted are those whose window begins in these rows; the gradient depends on those above, too.
    `factors` are the weights divided by the counts that the means are over. Passes over memory are what this costs: a
    map is overwritten once nothing needs it any more.
    """
    first = max(rows[0] - WINDOW + 1, 0)
    around = slice(first, rows[1] + WINDOW - 1)
    own = slice(rows[0] - first, rows[1] - first)  # within what is around
    maps = _empty(4, x[..., around, :])
    maps[0].copy_(x[..., around, :])
    maps[1].copy_(y[..., around, :])
    x, y, squares, product = maps
    torch.mul(x, x, out=squares).addcmul_(y, y)
    torch.mul(x, y, out=product)
    mx, my, s, p = _filter(_filter(maps, kernel, -2), kernel, -1)

    square, cross = (mx * mx).addcmul_(my, my), mx * my
    v = s.sub_(square).add_(C2).reciprocal_()
    c = p.sub_(cross).mul_(2).add_(C2).mul_(v)
    # Many blocks are summed up on a CPU alone; elsewhere there is one, and perhaps no double precision.
    sums = torch.zeros(3, dtype=torch.float64 if x.device.type == "cpu" else x.dtype, device=x.device)
    if factors.si:
        sums[1] = c[..., own, :].sum()
    if factors.ssim:
        u = square.add_(C1).reciprocal_()
        l = cross.mul_(2).add_(C1).mul_(u)  # noqa: E741 (its name in the formula)
        sums[0] = (l * c)[..., own, :].sum()
    if factors.l1:
        sign = torch.sub(x, y, out=product)[..., own, :]
        sums[2] = sign.abs().sum()
        sign.sgn_()

    if not outs:
        return sums
    maps = _empty(2 + len(outs), c)
    e, ce, *sources = maps  # here divided by the weight of SSIM, or of SI where that is alone
    if factors.ssim:
        torch.mul(l + factors.si / factors.ssim if factors.si else l, v, out=e)
        torch.mul(c, e, out=ce)
        h = u.mul_(c)
        mine, other = torch.addcmul(ce, l, h, value=-1, out=l), torch.sub(h, e, out=h)
    else:
        e.copy_(v)
        mine, other = torch.mul(c, v, out=ce), -v
    for source, side in zip(sources, outs, strict=True):
        torch.mul((mx, my)[side], mine, out=source).addcmul_((my, mx)[side], other)
    maps = _filter(_filter(maps, kernel, -1, transposed=True), kernel, -2, transposed=True)
    (e, ce, *results), x, y = (image[..., own, :] for image in (maps, x, y))
    for gradient, (side, out) in zip(results, outs.items(), strict=True):
        gradient.addcmul_((x, y)[side], ce, value=-1).addcmul_((y, x)[side], e).mul_(-2 * (factors.ssim or factors.si))
        if factors.l1:
            gradient.add_(sign, alpha=(factors.l1, -factors.l1)[side])
        out[..., rows[0] : rows[1], :] = gradient
    return sums


def _empty(count: int, like: Tensor) -> Tensor:
    """Room for `count` maps (count, B, L, H, W) of the size of one; on a CPU the L planes are interleaved."""
    if like.device.type != "cpu":
        return like.new_empty(count, *like.shape)
    batch, lanes, height, width = like.shape
    return like.new_empty(count, batch, height, width, lanes).movedim(-1, 2)


def _filter(maps: Tensor, kernel: Tensor, dim: int, transposed: bool = False) -> Tensor:
    """Maps (count, B, L, H, W) correlated with the kernel along H or W, valid region; or the transpose of that."""
    lanes = maps.shape[2]
    weight = kernel.view((-1, 1) if dim == -2 else (1, -1)).expand(lanes, 1, -1, -1)
    border = WINDOW - 1 if transposed else 0
    padding = (border, 0) if dim == -2 else (0, border)
    return F.conv2d(maps.flatten(0, 1), weight, padding=padding, groups=lanes).unflatten(0, maps.shape[:2])
