"""The formation models as the field's training code computes them: sample by sample, in NumPy, SciPy and OpenCV.

Three models have published loaders, and are computed as those do it:

- ``ceilnet`` as in ERRNet and ``screen`` as in DSRNet: each channel is convolved with a two-dimensional window by
  ``scipy.signal.convolve2d``.
- ``gamma`` as in Zhang et al.'s code and ERRNet: float32 photos, OpenCV's separable blur, means over products with
  masks, clipping by masks, and a vignette in float64, after which all is float64. IBCLN does the same in PyTorch on the
  device.

The others have none, and are written from their formulas in the same style. What published code computes and does not
use is left out: the power that gives B back, and a vignette made anew for each sample. The blur's border is mirrored
on both sides of a race, so that the results can be compared; the published loaders that use SciPy continue with zeros.

Each function takes B and R, float32 (H, W, 3) in [0, 1], and the parameters of one mixture, and gives I, B and R.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.signal import convolve2d
from scipy.stats import norm

from crrn.image.picture import Pixels

Image = NDArray[Any]
Layers = tuple[Image, Image, Image]
Drawn = Mapping[str, Any]


def paper(b: Image, r: Image, drawn: Drawn) -> Layers:
    """A weighted sum."""
    r = drawn["beta"] * r
    return np.clip(drawn["alpha"] * b + r, 0, 1), b, r


def ceilnet(b: Image, r: Image, drawn: Drawn) -> Layers:
    """Blurred, lowered where the sum saturates (Fan et al., ICCV 2017)."""
    mixture, r = lowered_sum(b, blurred(r, drawn["sigma"], 11))
    return mixture, b, r


def gamma(b: Image, r: Image, drawn: Drawn) -> Layers:
    """In linear light, blurred, lowered by channel, with a vignette (Zhang et al., CVPR 2018)."""
    t, r = np.power(b, 2.2), np.power(r, 2.2)
    side = int(2 * np.ceil(2 * drawn["sigma"]) + 1)
    r = cv2.GaussianBlur(r, (side, side), drawn["sigma"], borderType=cv2.BORDER_REFLECT_101)
    blend = r + t
    for channel in range(3):
        above = blend[..., channel] > 1
        mean = max(1.0, (blend[..., channel] * above).sum() / (above.sum() + 1e-6))
        r[..., channel] -= (mean - 1) * drawn["lowering"]
    r[r > 1] = 1
    r[r < 0] = 0
    height, width = r.shape[:2]
    whole = vignette_mask(int(2.5 * min(height, width)))
    left, top = (
        round(float(place) * (len(whole) - size))
        for place, size in zip(drawn["vignette"], (width, height), strict=True)
    )
    r = r * whole[top : top + height, left : left + width]
    mixture = np.power(r + t * drawn["background_gain"], 1 / 2.2)
    mixture[mixture > 1] = 1
    mixture[mixture < 0] = 0
    return mixture, b, np.power(r, 1 / 2.2)


def screen(b: Image, r: Image, drawn: Drawn) -> Layers:
    """Blurred, blended or summed (DSRNet: Hu and Guo, ICCV 2023)."""
    r = drawn["beta"] * blurred(r, drawn["sigma"], int(drawn["kernel"]))
    t = drawn["alpha"] * b
    if drawn["screen"]:
        return t + r - t * r, b, r
    mixture, r = lowered_sum(t, r)
    return mixture, b, r


def ghosting(b: Image, r: Image, drawn: Drawn) -> Layers:
    """Convolved with two pulses (Shih et al., CVPR 2015)."""
    r = np.minimum(drawn["beta"] * (r + drawn["attenuation"] * shifted(r, drawn["shift"])), 1)
    return np.minimum(drawn["alpha"] * b + r, 1), b, r


def fresnel(b: Image, r: Image, drawn: Drawn) -> Layers:
    """By Fresnel's equations on a plane (Lyu et al., NeurIPS 2019)."""
    height, width = b.shape[:2]
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    cos, sin = np.cos(drawn["direction"]), np.sin(drawn["direction"])
    start, end = drawn["angle"]
    theta = np.radians((start + end) / 2 + (end - start) / 2 * (x * cos + y * sin) / (abs(cos) + abs(sin)))
    inside = np.arcsin(np.sin(theta) / 1.474)
    across = np.sin(theta - inside) ** 2 / np.sin(theta + inside) ** 2
    along = np.tan(theta - inside) ** 2 / np.tan(theta + inside) ** 2
    rho = (across / (1 + across) + along / (1 + along)).astype(np.float32)[..., None]
    t, r = (1 - rho) * np.power(b, 2.2), rho * np.power(r, 2.2)
    return np.power(t + r, 1 / 2.2), np.power(t, 1 / 2.2), np.power(r, 1 / 2.2)


def linear(b: Image, r: Image, drawn: Drawn) -> Layers:
    """In linear light, with blur, ghost and a soft region."""
    height, width = b.shape[:2]
    scale, g = min(height, width) / 224, drawn["gamma"]
    if drawn["blur"]:
        side = 2 * max(1, int(np.ceil(12 * scale))) + 1
        r = cv2.GaussianBlur(r, (side, side), drawn["sigma"] * scale, borderType=cv2.BORDER_REFLECT_101)
    r = np.power(r, g)
    if drawn["ghost"]:
        r = (r + drawn["ghost_weight"] * shifted(r, drawn["ghost_shift"])) / (1 + drawn["ghost_weight"])
    r = r * (drawn["reflection_gain"] * drawn["channel_gain"])
    if drawn["region"]:
        field = cv2.resize(drawn["region_field"], (width, height), interpolation=cv2.INTER_CUBIC)
        r = r / (1 + np.exp(-drawn["region_steepness"] * (field - drawn["region_level"])))[..., None]
    r = np.clip(r, 0, 1)
    t = drawn["background_gain"] * np.power(b, g)
    return np.clip(np.power(t + r, 1 / g), 0, 1), np.power(t, 1 / g), np.power(r, 1 / g)


def transfer(b: Image, r: Image, drawn: Drawn) -> Layers:
    """A real reflection in linear light."""
    g = drawn["gamma"]
    r = np.minimum(drawn["scale"] * np.power(r, g), 1)
    return np.clip(np.power(np.power(b, g) + r, 1 / g), 0, 1), b, np.power(r, 1 / g)


MODELS: dict[str, Callable[[Image, Image, Drawn], Layers]] = {
    "CEILNetMixing": ceilnet,
    "FresnelMixing": fresnel,
    "GammaMixing": gamma,
    "GhostingMixing": ghosting,
    "LinearMixing": linear,
    "PaperMixing": paper,
    "ScreenMixing": screen,
    "TransferMixing": transfer,
}
"""By the class in ``crrn.mixing`` that computes the same, with its default settings."""


def synthesise(model: str, background: Pixels, reflection: Pixels, drawn: Drawn) -> Layers:
    """I, B and R of one sample, float32 (H, W, 3), from two uint8 photos."""
    b, r = (photo.astype(np.float32) / np.float32(255) for photo in (background, reflection))
    mixture, b, r = (layer.astype(np.float32, copy=False) for layer in MODELS[model](b, r, drawn))
    return mixture, b, r


def lowered_sum(b: Image, r: Image) -> tuple[Image, Image]:
    """The sum, with R lowered where it would exceed 1, and R."""
    mixture = b + r
    if mixture.max() > 1:
        r = np.clip(r - 1.3 * np.mean((mixture - 1)[mixture > 1]), 0, 1)
        mixture = np.clip(b + r, 0, 1)
    return mixture, r


def blurred(r: Image, sigma: float, side: int) -> Image:
    """Each channel convolved with a two-dimensional window."""
    row = cv2.getGaussianKernel(side, sigma)
    padded = np.pad(r, ((side // 2,) * 2, (side // 2,) * 2, (0, 0)), mode="reflect")
    return np.stack([convolve2d(padded[..., c], row @ row.T, mode="valid") for c in range(3)], axis=2)


def shifted(r: Image, vector: NDArray[np.float32]) -> Image:
    """Correlated with a window that has a pulse, spread bilinearly over four pixels, where the image comes from."""
    dx, dy = -vector * min(r.shape[:2]) / 224
    reach = int(np.ceil(max(abs(dx), abs(dy)))) + 1
    left, above = int(np.floor(dx)), int(np.floor(dy))
    pulse = np.outer([1 - (dy - above), dy - above], [1 - (dx - left), dx - left])
    window = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    window[reach + above : reach + above + 2, reach + left : reach + left + 2] = pulse
    moved: Image = cv2.filter2D(r, -1, window, borderType=cv2.BORDER_REPLICATE)
    return moved


@lru_cache
def vignette_mask(side: int) -> Image:
    """The whole mask of Zhang et al.'s vignette, float64 (side, side, 3); their code makes it once."""
    profile = np.diff(norm.cdf(np.linspace(-3.00625, 3.00625, side + 1)))
    whole = np.sqrt(np.outer(profile, profile))
    return np.dstack([whole / whole.max()] * 3)
