"""Estimates of a small copy of a photo, carried over to the photo itself.

Reflections are smooth and a photo's detail is its own. So a network that was trained on small images sees a small copy,
and what it changes there, the correction, is enlarged and added to the photo.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from crrn.layers import Layers


def at_working_size(estimate: Callable[[Tensor], Layers], photo: Tensor, side: int | None) -> Layers:
    """Estimate the layers of a photo from a copy whose short side is `side` pixels.

    With the copy s and its estimated background b, both in [0, 1], the photo I's background is
    I + enlarged(b - s), clipped to [0, 1]. Reflection and gradient are enlarged as they are.

    Args:
        estimate: from an image (N, 3, h, w) in [0, 1] to its layers.
        photo: (N, 3, H, W) in [0, 1].
        side: in pixels. None, or a side that is not smaller than the photo's own, estimates at the photo's size.

    Returns:
        Layers (N, C, H, W), in [0, 1] where the photo was estimated small, else as `estimate` gives them.
    """
    height, width = photo.shape[-2:]
    if side is None or side >= min(height, width):
        return estimate(photo)
    small = reduced(photo, *working_size(height, width, side))
    layers = {name: layer.float() for name, layer in estimate(small)._asdict().items() if layer is not None}
    if "background" in layers:
        correction = enlarged(layers["background"].clamp(0, 1) - small.to(layers["background"].device), height, width)
        layers["background"] = correction.add_(photo.to(correction.device)).clamp_(0, 1)
    for name in ("reflection", "gradient"):
        if name in layers:
            layers[name] = enlarged(layers[name], height, width).clamp_(0, 1)
    return Layers(**layers)


def working_size(height: int, width: int, side: int) -> tuple[int, int]:
    """The height and width of a copy with a short side of `side` pixels and the same aspect ratio, rounded."""
    scale = side / min(height, width)
    return round(height * scale), round(width * scale)


def reduced(photo: Tensor, height: int, width: int) -> Tensor:
    """A photo (N, C, H, W) at a smaller size: bicubic with antialiasing, as Pillow does it, clipped to [0, 1]."""
    return F.interpolate(photo, (height, width), mode="bicubic", antialias=True).clamp_(0, 1)


def enlarged(layer: Tensor, height: int, width: int) -> Tensor:
    """A layer (N, C, H, W) at a larger size: bicubic, unclipped."""
    return F.interpolate(layer, (height, width), mode="bicubic", antialias=True)


def at_strength(photo: Tensor, background: Tensor, strength: float) -> Tensor:
    """The photo changed by a share of what its estimate changes: I + strength / 100 (B - I), clipped to [0, 1].

    Args:
        photo, background: (N, 3, H, W) in [0, 1].
        strength: 0 gives the photo, 100 the estimate, up to 150 changes more than that.
    """
    if strength == 100:
        return background
    return photo.to(background.device).lerp(background.clamp(0, 1), strength / 100).clamp_(0, 1)
