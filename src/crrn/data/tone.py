"""The tone of real pairs: fitting a background's colour to its photo's, and changing both photos' exposure alike."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crrn.image.picture import Pixels

GAMMA = 2.2
"""Of the power law that stands for a camera's tone curve (our choice)."""

QUANTILE = 0.3
"""Of the ratio photo / background: a reflection only adds light, so low ratios have none (our choice)."""

STRIDE = 4
"""Every so many rows and columns are looked at: a ratio of colours needs no detail."""


@cache
def linear_levels() -> NDArray[np.float32]:
    """Linear light, in [0, 1], of each of the 256 levels."""
    return ((np.arange(256) / 255) ** GAMMA).astype(np.float32)


def encode(light: NDArray[np.float32]) -> Pixels:
    """Linear light, clipped to [0, 1], as levels of 8 bits."""
    return np.asarray(255 * np.clip(light, 0, 1) ** np.float32(1 / GAMMA) + 0.5, dtype=np.uint8)


def scaled(photo: Pixels, gains: NDArray[np.float32]) -> Pixels:
    """A photo (H, W, 3) whose linear light is multiplied by a gain for each channel (3,)."""
    table = encode(linear_levels()[:, None] * gains)
    return np.stack([table[photo[..., channel], channel] for channel in range(3)], axis=-1)


def exposed(images: Tensor, gains: Tensor) -> Tensor:
    """Images whose linear light is multiplied by a gain for each channel: `scaled` for a batch of tensors.

    Args:
        images: (N, 3, H, W) in [0, 1].
        gains: (N, 3), positive.

    Returns:
        (N, 3, H, W) in [0, 1], new memory.
    """
    return (images * gains.pow(1 / GAMMA)[..., None, None]).clamp_(max=1)


def matched(background: Pixels, mixture: Pixels) -> Pixels:
    """The background with the tone of its photo: each channel's linear light times the 30 % quantile of the ratio of
    the two.

    Args:
        background, mixture: (H, W, 3), of the same size.
    """
    levels = linear_levels()
    below, above = (levels[photo[::STRIDE, ::STRIDE]].reshape(-1, 3) for photo in (background, mixture))
    ratio = (above + 1e-3) / (below + 1e-3)
    return scaled(background, np.quantile(ratio, QUANTILE, axis=0).astype(np.float32))


def reflection_above(mixture: Pixels, background: Pixels) -> Pixels:
    """What a photo shows above its background, in linear light: the visible reflection, (H, W, 3)."""
    levels = linear_levels()
    return encode(levels[mixture] - levels[background])
