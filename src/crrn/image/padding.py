"""Padding to the sizes that the networks can halve five times, and the way back."""

from __future__ import annotations

import torch
from torch import Tensor


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Continue an image at its right and bottom by reflection until both sides are multiples of `multiple`.

    The border pixel is not repeated (as in `torch.nn.functional.pad`'s "reflect"); where an image is smaller than its
    padding the reflection goes on back and forth, and a side of one pixel is repeated. So any H, W >= 1 is taken.

    Args:
        image: (..., H, W).
        multiple: a positive number of pixels.

    Returns:
        (..., H', W') with H <= H' < H + multiple; the image itself where nothing is to be padded.
    """
    for dim in (-2, -1):
        size = image.shape[dim]
        padded = (size + multiple - 1) // multiple * multiple  # no negative numbers: ONNX divides towards 0
        # An exported graph is for all sizes, so it must not depend on whether this one needs padding.
        if torch.compiler.is_exporting() or padded != size:
            image = image.index_select(dim, _reflected(size, padded, image.device))
    return image


def crop(image: Tensor, height: int, width: int) -> Tensor:
    """The top left (..., height, width) of an image: the inverse of `pad_to_multiple`."""
    return image[..., :height, :width]


def _reflected(size: int, padded: int, device: torch.device) -> Tensor:
    """Indices 0 1 .. size-1 size-2 .. 1 0 1 .. (a triangle wave), `padded` of them."""
    last = size - 1
    # sym_max and a period in a tensor say what max and an int say, in words that exporters know. The compiler
    # of torch 2.11 knows max alone.
    period = torch.full((), max(2 * last, 1) if isinstance(last, int) else torch.sym_max(2 * last, 1), device=device)
    return last - (torch.arange(padded, device=device) % period - last).abs()
