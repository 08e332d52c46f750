"""Each formation model's formula for one (3, H, W) pair, in double precision, with NumPy, SciPy and OpenCV alone.

Each function takes B, R and the parameters as drawn, and gives I and the targets B and R.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter1d, map_coordinates, shift

Layer = NDArray[np.float64]
Layers = tuple[Layer, Layer, Layer]


def paper(b: Layer, r: Layer, drawn: dict[str, Any]) -> Layers:
    r = drawn["beta"] * r
    return np.clip(drawn["alpha"] * b + r, 0, 1), b, r


def blur(r: Layer, sigma: float, side: int) -> Layer:
    offsets = np.arange(-(side // 2), side // 2 + 1)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * sigma**2))
    return np.stack([convolve(channel, window / window.sum(), mode="mirror") for channel in r])


def lowered_sum(b: Layer, r: Layer, lowering: float = 1.3) -> tuple[Layer, Layer]:
    mixture = b + r
    if mixture.max() > 1:
        r = np.clip(r - lowering * (mixture[mixture > 1] - 1).mean(), 0, 1)
        mixture = np.clip(b + r, 0, 1)
    return mixture, r


def ceilnet(b: Layer, r: Layer, drawn: dict[str, Any]) -> Layers:
    mixture, r = lowered_sum(b, blur(r, drawn["sigma"], 11))
    return mixture, b, r


def screen(b: Layer, r: Layer, drawn: dict[str, Any]) -> Layers:
    r = drawn["beta"] * blur(r, drawn["sigma"], int(drawn["kernel"]))
    dimmed = drawn["alpha"] * b
    if drawn["screen"]:
        return dimmed + r - dimmed * r, b, r
    mixture, r = lowered_sum(dimmed, r)
    return mixture, b, r


def published_mask(side: int = 560) -> Layer:
    """The mask of the vignette as Zhang et al. make it: integrals of a Gaussian over the pixels."""
    interval = (2 * 3 + 1.0) / side
    edges = np.linspace(-3 - interval / 2, 3 + interval / 2, side + 1)
    profile = np.diff(scipy.stats.norm.cdf(edges))
    mask = np.sqrt(np.outer(profile, profile))
    return mask / mask.max()


def gamma(b: Layer, r: Layer, drawn: dict[str, Any]) -> Layers:
    """For photos whose short side is 224, for which the published mask is made."""
    t, r = b**2.2, r**2.2
    r = blur(r, drawn["sigma"], int(2 * np.ceil(2 * drawn["sigma"]) + 1))
    for channel in range(3):
        blend = t[channel] + r[channel]
        mean = max(1, blend[blend > 1].mean()) if (blend > 1).any() else 1
        r[channel] = np.clip(r[channel] - (mean - 1) * drawn["lowering"], 0, 1)
    height, width = r.shape[1:]
    assert min(height, width) == 224
    left, top = (float(place) * (560 - side) for place, side in zip(drawn["vignette"], (width, height), strict=True))
    rows, columns = top + np.arange(height), left + np.arange(width)
    r = r * map_coordinates(published_mask(), np.meshgrid(rows, columns, indexing="ij"), mode="nearest")
    mixture = np.clip((t * drawn["background_gain"] + r) ** (1 / 2.2), 0, 1)
    return mixture, b, r ** (1 / 2.2)


def moved(r: Layer, vector: NDArray[np.float32]) -> Layer:
    dx, dy = np.float64(vector) * min(r.shape[1:]) / 224
    return np.stack([shift(channel, (dy, dx), order=1, mode="nearest") for channel in r])


def ghosting(b: Layer, r: Layer, drawn: dict[str, Any]) -> Layers:
    r = np.minimum(drawn["beta"] * (r + drawn["attenuation"] * moved(r, drawn["shift"])), 1)
    return np.minimum(drawn["alpha"] * b + r, 1), b, r


def fresnel(b: Layer, r: Layer, drawn: dict[str, Any]) -> Layers:
    height, width = b.shape[1:]
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    cos, sin = np.cos(drawn["direction"]), np.sin(drawn["direction"])
    share = ((x * cos + y * sin) / (abs(cos) + abs(sin)) + 1) / 2  # 0 at the first corner, 1 at the last
    start, end = np.float64(drawn["angle"])
    t = np.radians(start + share * (end - start))
    u = np.arcsin(np.sin(t) / 1.474)
    across = np.sin(t - u) ** 2 / np.sin(t + u) ** 2
    along = np.tan(t - u) ** 2 / np.tan(t + u) ** 2
    rho = np.mean([2 * part / (1 + part) for part in (across, along)], axis=0)
    visible, dimmed = rho * r**2.2, (1 - rho) * b**2.2
    return (visible + dimmed) ** (1 / 2.2), dimmed ** (1 / 2.2), visible ** (1 / 2.2)


def linear(b: Layer, r: Layer, drawn: dict[str, Any]) -> Layers:
    height, width = b.shape[1:]
    scale = min(height, width) / 224
    g = drawn["gamma"]
    if drawn["blur"]:
        radius = max(1, int(np.ceil(3 * 4.0 * scale)))
        for axis in (1, 2):
            r = gaussian_filter1d(r, drawn["sigma"] * scale, axis=axis, mode="mirror", radius=radius)
    r = r**g
    if drawn["ghost"]:
        w = drawn["ghost_weight"]
        r = (r + w * moved(r, drawn["ghost_shift"])) / (1 + w)
    r = r * drawn["reflection_gain"] * np.float64(drawn["channel_gain"])[:, None, None]
    if drawn["region"]:
        field = cv2.resize(drawn["region_field"].astype(np.float64), (width, height), interpolation=cv2.INTER_CUBIC)
        r = r / (1 + np.exp(-drawn["region_steepness"] * (field - drawn["region_level"])))
    r = np.clip(r, 0, 1)
    b = b**g * drawn["background_gain"]
    return np.clip((b + r) ** (1 / g), 0, 1), b ** (1 / g), r ** (1 / g)


def transfer(b: Layer, r: Layer, drawn: dict[str, Any]) -> Layers:
    g = drawn["gamma"]
    light = np.minimum(drawn["scale"] * r**g, 1)
    return np.clip((b**g + light) ** (1 / g), 0, 1), b, light ** (1 / g)
