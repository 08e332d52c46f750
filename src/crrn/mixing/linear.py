"""Mixture formation in linear light."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from crrn.mixing.model import Drawn, Mixture, Parameters, checked_number, checked_range, formation_of, per_image
from crrn.mixing.operations import blurred, change_rows, length_scale, power, power_, shifted, soft_region


class LinearMixing:
    """Light adds in linear light: I = clip((b + r)^(1/g)), with a reflection as glass shows it (our own model).

    The background is dimmed: b = t B^g. The reflection is r = (blur R)^g, and then

    - a ghost: r = (r + w shift(r)) / (1 + w), the second image of a thick pane,
    - a gain for all channels and one for each,
    - a soft region: r times sigmoid(k (f - q)), f a field of 5x5 normal numbers enlarged by bicubic interpolation.

    Blur, ghost and region each occur in a share of the mixtures. All ranges are drawn from uniformly. r is clipped to
    [0, 1].

    Lengths are pixels at a short side of 224 and grow in proportion with the image's short side.

    The targets are b^(1/g), the camera's view without the reflection, and r^(1/g). The background stays dimmed, so that
    a network does not learn to brighten photos. ``formation`` is (g, 1).

    Args:
        gamma: range of g.
        background_gain: range of t.
        blur_share: share of the mixtures whose reflection is blurred.
        sigma: range of the blur's standard deviation, in pixels at a short side of 224.
        ghost_share: share of the mixtures with a ghost.
        ghost_weight: range of w.
        ghost_shift: the ghost's largest shift along either axis, in pixels at a short side of 224.
        reflection_gain: range of the reflection's gain.
        channel_gain: range of the gain of each channel.
        region_share: share of the mixtures whose reflection is limited to a region.
        region_level: range of q; the higher, the smaller the region.
        region_steepness: range of k; the higher, the sharper the region's border.

    Raises:
        ConfigError: a range or a number out of range; the message says which values are allowed.
    """

    def __init__(
        self,
        gamma: Sequence[float] = (1.8, 2.6),
        background_gain: Sequence[float] = (0.7, 1.0),
        blur_share: float = 0.5,
        sigma: Sequence[float] = (0.5, 4.0),
        ghost_share: float = 0.5,
        ghost_weight: Sequence[float] = (0.2, 0.7),
        ghost_shift: float = 8.0,
        reflection_gain: Sequence[float] = (0.08, 0.9),
        channel_gain: Sequence[float] = (0.8, 1.2),
        region_share: float = 0.5,
        region_level: Sequence[float] = (-0.8, 0.5),
        region_steepness: Sequence[float] = (2.0, 10.0),
    ) -> None:
        self.gamma = checked_range("mixing.gamma", gamma, 1, 4)
        self.background_gain = checked_range("mixing.background_gain", background_gain, 0, 1)
        self.blur_share = checked_number("mixing.blur_share", blur_share, 0, 1)
        self.sigma = checked_range("mixing.sigma", sigma, 0.1, 40)
        self.ghost_share = checked_number("mixing.ghost_share", ghost_share, 0, 1)
        self.ghost_weight = checked_range("mixing.ghost_weight", ghost_weight, 0, 1)
        self.ghost_shift = checked_number("mixing.ghost_shift", ghost_shift, 0, 100)
        self.reflection_gain = checked_range("mixing.reflection_gain", reflection_gain, 0, 1)
        self.channel_gain = checked_range("mixing.channel_gain", channel_gain, 0, 2)
        self.region_share = checked_number("mixing.region_share", region_share, 0, 1)
        self.region_level = checked_range("mixing.region_level", region_level, -10, 10)
        self.region_steepness = checked_range("mixing.region_steepness", region_steepness, 0, 100)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw the parameters of one mixture."""
        return {
            "gamma": rng.uniform(*self.gamma),
            "background_gain": rng.uniform(*self.background_gain),
            "blur": int(rng.random() < self.blur_share),
            "sigma": rng.uniform(*self.sigma),
            "ghost": int(rng.random() < self.ghost_share),
            "ghost_weight": rng.uniform(*self.ghost_weight),
            "ghost_shift": rng.uniform(-self.ghost_shift, self.ghost_shift, 2).astype(np.float32),
            "reflection_gain": rng.uniform(*self.reflection_gain),
            "channel_gain": rng.uniform(*self.channel_gain, 3).astype(np.float32),
            "region": int(rng.random() < self.region_share),
            "region_field": rng.standard_normal((5, 5), dtype=np.float32),
            "region_level": rng.uniform(*self.region_level),
            "region_steepness": rng.uniform(*self.region_steepness),
        }

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Parameters) -> Mixture:
        """Form mixtures of (N, 3, H, W) layers in [0, 1].

        Args:
            background, reflection: the layers.
            parameters: (N,) each, but "ghost_shift" (N, 2) as (dx, dy), "channel_gain" (N, 3), "region_field"
                (N, 5, 5). "blur", "ghost" and "region" are on the host, 1 for the rows that have one.
        """
        gamma = per_image(parameters["gamma"], background)
        scale = length_scale(reflection)
        sigma, shift = parameters["sigma"] * scale, parameters["ghost_shift"] * scale
        radius = max(1, math.ceil(3 * self.sigma[1] * scale))
        weight = per_image(parameters["ghost_weight"], reflection)
        field, level, steepness = (parameters[f"region_{name}"] for name in ("field", "level", "steepness"))

        r = change_rows(reflection, parameters["blur"], lambda r, rows: blurred(r, sigma[rows], radius))
        r = power(r, gamma)
        r = change_rows(
            r,
            parameters["ghost"],
            lambda r, rows: shifted(r, shift[rows]).mul_(weight[rows]).add_(r).div_(1 + weight[rows]),
        )
        r = change_rows(
            r,
            parameters["region"],
            lambda r, rows: r * soft_region(field[rows], level[rows], steepness[rows], *r.shape[-2:]),
        )
        gain = parameters["channel_gain"] * parameters["reflection_gain"][:, None]
        r = (r * gain.to(r)[..., None, None]).clamp_(0, 1)
        dimmed = background * per_image(parameters["background_gain"], background).pow(1 / gamma)
        mixture = power_(power(dimmed, gamma).add_(r).clamp_(max=1), 1 / gamma)
        return Mixture(mixture, dimmed, power_(r, 1 / gamma), formation=formation_of(mixture, parameters["gamma"], 1))
