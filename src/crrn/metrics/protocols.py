"""Named protocols: one name, one recipe from an image pair to its numbers.

The same outputs get different numbers from every evaluation in the field, as each resizes, crops, rounds and windows in
its own way. Each way that is known has a name here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from crrn.errors import ConfigError
from crrn.metrics.correlation import ncc
from crrn.metrics.gain import colour_match
from crrn.metrics.lmse import lmse
from crrn.metrics.own import Own, check_facts, facts_of, measured
from crrn.metrics.psnr import psnr
from crrn.metrics.structure import gaussian_means, ms_ssim, ssim_uniform

METRICS = ("ssim", "si", "ssim_r", "si_r", "psnr", "ncc", "lmse", "slmse", "ms_ssim", "lpips", "dists")
LOWER_IS_BETTER = ("lmse", "lpips", "dists")
PERCEPTUAL = ("lpips", "dists")
MATCHED = ("matched_psnr", "matched_ssim")
"""PSNR and SSIM after the estimate is colour-matched to the ground truth, see `Protocol.measure_matched`."""
RESIZES = ("none", "224x288", "floor:32", "nearest:4")

Perceptual = Mapping[str, Callable[[Tensor, Tensor], Tensor]]


@dataclass(frozen=True)
class Protocol:
    """A recipe.

    Attributes:
        name: what results call it.
        metrics: names of `METRICS`, and objects as `crrn.metrics.own` describes; in the end, the names of all.
        resize: of the mixture and the ground truth, before the remover sees them. "none", "224x288" (portrait images
            become 288x224), "floor:N" (each side down to a multiple of N) or "nearest:N". Bicubic with antialiasing on
            8-bit images (Pillow), which is DSRNet's for floor:32 and our choice for the others.
        crop: pixels taken off each side before measuring.
        quantise: round the estimate to 8 bits first.
        colour: PSNR of all channels jointly, or the mean of the channels' PSNRs.
        window: SSIM with the 11x11 Gaussian of sigma 1.5, or scikit-image's default, 7x7 uniform with sample
            covariance.
        pooling: the mean that stands for a benchmark: of all its images, or of its subsets' means.
        own: facts of the metrics that are not crrn's; from the objects, or from a record.
        measures: those objects by name; a protocol of a record has none, and measures only what crrn knows.
    """

    name: str
    metrics: tuple[str, ...]
    resize: str = "none"
    crop: int = 0
    quantise: bool = False
    colour: Literal["joint", "channels"] = "joint"
    window: Literal["gaussian", "uniform"] = "gaussian"
    pooling: Literal["images", "subsets"] = "images"
    own: Own = field(default_factory=dict, hash=False)
    measures: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        setting = f"protocol.{self.name}.metrics"
        names: list[str] = []
        own, measures = dict(self.own), dict(self.measures)
        check_facts(own, setting)
        given: tuple[Any, ...] = self.metrics
        for metric in given:
            name = metric
            if not isinstance(metric, str):
                name, own[name] = facts_of(metric, setting, (*METRICS, *MATCHED, *names))
                measures[name] = metric
            names.append(name)
        unknown = [name for name in names if name not in (*METRICS, *own)]
        if unknown or not names:
            raise ConfigError(
                f"{setting}: {unknown or 'none'} given; choose from {', '.join(METRICS)}, or give your own as "
                "{_target_: CLASS}."
            )
        for name, value in (("metrics", tuple(names)), ("own", own), ("measures", measures)):
            object.__setattr__(self, name, value)
        for key, choices in (
            ("colour", ("joint", "channels")),
            ("window", ("gaussian", "uniform")),
            ("pooling", ("images", "subsets")),
        ):
            if getattr(self, key) not in choices:
                raise ConfigError(f"protocol.{self.name}.{key}={getattr(self, key)!r}: choose {' or '.join(choices)}.")
        if self.crop < 0:
            raise ConfigError(f"protocol.{self.name}.crop={self.crop}: give 0 or more pixels.")
        self.size(224, 288)

    def recipe(self) -> dict[str, Any]:
        """All of it but the name, as plain values; without metrics of one's own it is that of earlier versions."""
        recipe = {part.name: getattr(self, part.name) for part in fields(self)}
        left_out = {"name", "measures", *(() if self.own else ("own",))}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in recipe.items()
            if key not in left_out
        }

    def digest(self) -> str:
        """8 hex digits of the recipe: equal exactly where two protocols measure the same."""
        return hashlib.blake2b(json.dumps(self.recipe(), sort_keys=True).encode(), digest_size=4).hexdigest()

    def describe(self) -> str:
        """The recipe in one line for a person."""
        parts = [
            "no resize" if self.resize == "none" else f"resized to {self.resize}",
            f"{self.crop} px cropped" if self.crop else "",
            "rounded to 8 bits" if self.quantise else "unrounded",
            "PSNR over RGB jointly" if self.colour == "joint" else "mean of the channels' PSNRs",
            "SSIM with an 11x11 Gaussian" if self.window == "gaussian" else "SSIM with a 7x7 uniform window",
            "mean over images" if self.pooling == "images" else "mean of the subsets' means",
            *(f"{facts['label']} by {facts['class']}" for facts in self.own.values()),
        ]
        return ", ".join(part for part in parts if part)

    @property
    def fixed_size(self) -> bool:
        """Whether all images are evaluated at one size, whatever their own."""
        return self.size(1, 1) == self.size(4096, 4096)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The size (height, width) at which an image is evaluated."""
        kind, _, value = self.resize.partition(":")
        if self.resize == "none":
            return height, width
        if self.resize == "224x288":
            return (288, 224) if height > width else (224, 288)
        if kind in ("floor", "nearest") and value.isdigit() and int(value) > 0:
            step = int(value)
            fit = (lambda side: side // step) if kind == "floor" else (lambda side: round(side / step))
            return max(1, fit(height)) * step, max(1, fit(width)) * step
        raise ConfigError(f"protocol.{self.name}.resize={self.resize!r}: choose from {', '.join(RESIZES)}.")

    def fit(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A photo or layer, uint8 (H, W, 3), at the size at which it is evaluated."""
        height, width = self.size(*photo.shape[:2])
        if (height, width) == photo.shape[:2]:
            return photo
        return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))

    def fit_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (H, W) at that size: nearest neighbour."""
        height, width = self.size(*mask.shape)
        if (height, width) == mask.shape:
            return mask
        resized = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.NEAREST)
        return np.asarray(resized) > 127

    def measure(
        self, estimate: Tensor, target: Tensor, mask: Tensor | None = None, perceptual: Perceptual | None = None
    ) -> dict[str, Tensor]:
        """The protocol's numbers for images that `fit` gave the size.

        Args:
            estimate: (N, 3, H, W), nominally in [0, 1]; clipped here.
            target: the true background, the same shape, in [0, 1].
            mask: (N, 1, H, W) bool, where the reflection dominates; None leaves SSIMr and SIr out.
            perceptual: "lpips" and "dists" as functions of two images; what is absent is left out.

        Returns:
            {metric: (N,)}, in the order of `metrics`; NaN where an image has no value, such as under an empty mask.

        Raises:
            ValueError: the images differ in shape or are too small for a metric's window.
            ConfigError: a metric of one's own does not return (N,).
        """
        x, y = self._compared(estimate, target)
        inside = slice(self.crop, -self.crop or None)
        region = None if mask is None else mask[..., inside, inside]
        means: dict[str, Tensor] = {}
        if self.window == "gaussian" or {"si", "ssim_r", "si_r"} & set(self.metrics):
            means = gaussian_means(x, y, region)
        forms: dict[str, Callable[[], Tensor]] = {
            "ssim": lambda: ssim_uniform(x, y) if self.window == "uniform" else means["ssim"],
            **{name: lambda name=name: means[name] for name in ("si", "ssim_r", "si_r")},  # type: ignore[misc]
            "psnr": lambda: psnr(x, y, self.colour),
            "ncc": lambda: ncc(x, y),
            "lmse": lambda: lmse(x, y),
            "slmse": lambda: 1 - lmse(x, y),
            "ms_ssim": lambda: ms_ssim(x, y),
            **{name: lambda form=form: form(x, y) for name, form in (perceptual or {}).items()},  # type: ignore[misc]
            **{name: partial(measured, name, metric, x, y) for name, metric in self.measures.items()},
        }
        left_out = {"ssim_r", "si_r"} if region is None else set()
        return {metric: forms[metric]() for metric in self.metrics if metric in forms and metric not in left_out}

    def measure_matched(self, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The protocol's PSNR and SSIM after each channel of the estimate got its best gain and offset.

        These are the ones that bring it nearest to the ground truth. The remaining error is not one of tone.

        Args:
            estimate, target: as of `measure`; the estimate is cropped and rounded first, as there.

        Returns:
            "matched_psnr" and "matched_ssim", (N,) each, of those that the protocol has.
        """
        x, y = self._compared(estimate, target)
        x = colour_match(x, y)
        values: dict[str, Tensor] = {}
        if "psnr" in self.metrics:
            values["matched_psnr"] = psnr(x, y, self.colour)
        if "ssim" in self.metrics:
            values["matched_ssim"] = ssim_uniform(x, y) if self.window == "uniform" else gaussian_means(x, y)["ssim"]
        return values

    def _compared(self, estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels that are compared."""
        if estimate.shape != target.shape:
            raise ValueError(f"the estimate is {tuple(estimate.shape)}, the ground truth {tuple(target.shape)}")
        inside = slice(self.crop, -self.crop or None)
        x, y = (image[..., inside, inside].clamp(0, 1) for image in (estimate, target))
        return (x * 255).round() / 255 if self.quantise else x, y


NAMED = {
    protocol.name: protocol
    for protocol in (
        # The paper's training size; its section 5 does not say at which size its tables were made.
        Protocol("crrn", ("ssim", "si", "ssim_r", "si_r", "psnr"), resize="224x288"),
        Protocol("native", ("ssim", "si", "ssim_r", "si_r", "psnr")),
        Protocol("errnet", ("psnr", "ssim", "ncc", "lmse"), colour="channels", window="uniform"),
        Protocol("floor32", ("psnr", "ssim"), resize="floor:32", colour="channels", window="uniform"),
        # What follows the resize is not published: 8-bit images in scikit-image are our choice.
        Protocol("ibcln", ("psnr", "ssim"), resize="nearest:4", quantise=True, window="uniform"),
        # SSIM's window is our choice: the one that the challenge's restoration toolboxes use.
        Protocol("openrr", ("psnr", "ssim", "lpips", "dists"), crop=4, quantise=True),
        Protocol("windowseat", ("psnr", "ssim", "lpips"), quantise=True, window="uniform"),
    )
}


def named_protocol(name: str) -> Protocol:
    """One of `NAMED`.

    Raises:
        ConfigError: no protocol has this name.
    """
    if name not in NAMED:
        raise ConfigError(
            f"There is no protocol {name!r}; choose from {', '.join(NAMED)}, or write your own: protocol=custom."
        )
    return NAMED[name]


def custom_protocol(**recipe: Any) -> Protocol:
    """A protocol of one's own; it cannot take the name of one of `NAMED`, whose recipe it would not have.

    Raises:
        ConfigError: the name is taken, or the recipe has an unknown part.
    """
    known = [part.name for part in fields(Protocol) if part.name not in ("own", "measures")]
    unknown = set(recipe) - set(known)
    if unknown:
        raise ConfigError(f"protocol: unknown {', '.join(sorted(unknown))}; a recipe has {', '.join(known)}.")
    if recipe.get("name") in NAMED:
        raise ConfigError(f"protocol.name={recipe['name']} is a published recipe: give your own another name.")
    return Protocol(**recipe)
