"""The base class of the classical methods: interface, checks and brightness."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
from torch import Tensor

from crrn.errors import ConfigError, DataError
from crrn.image.shape import check_shape
from crrn.layers import Layers, Remover

BRIGHTNESS = ("raw", "mean")


class Solver(Remover):
    """A method without learned weights. A subclass estimates the background; the rest is the reflection.

    Its layers are unclipped unless the method clips, and sum to the mixture: R = I - B.

    Args:
        brightness: what is done to the background's brightness, which some methods leave free: "raw" is nothing,
            "mean" shifts each channel so that its mean is the mixture's (our choice).
        progress: called with the finished share, in (0, 1], by slow methods.

    Raises:
        ConfigError: an unknown brightness.
    """

    estimates = ("background", "reflection")

    def __init__(self, brightness: str = "raw", progress: Callable[[float], object] | None = None) -> None:
        super().__init__()
        if brightness not in BRIGHTNESS:
            raise ConfigError(f"brightness={brightness!r} is unknown: choose one of {', '.join(BRIGHTNESS)}")
        self.brightness = brightness
        self.progress = progress

    @torch.no_grad()
    def forward(self, mixture: Tensor) -> Layers:
        """Separate mixtures, each by itself.

        Args:
            mixture: (N, 3, H, W) in [0, 1], any H, W >= 1, on any device; computed in float32, or in float64 if given
                so, also under autocast.

        Returns:
            Layers with `background` and `reflection`, (N, 3, H, W), of the mixture's dtype.

        Raises:
            DataError: the mixture has another shape, is not of floating point, or holds NaN or infinity.
        """
        check_mixture(mixture)
        with torch.autocast(mixture.device.type, enabled=False):
            exact = mixture.to(torch.promote_types(mixture.dtype, torch.float32)).contiguous()
            background = self._each(exact)
            if self.brightness == "mean":
                background = background + (exact - background).mean((2, 3), keepdim=True)
            return Layers(background.to(mixture.dtype), (exact - background).to(mixture.dtype))

    def _each(self, mixture: Tensor) -> Tensor:
        """On a CPU image by image, which its caches like better and which needs the memory of one."""
        if mixture.device.type != "cpu" or len(mixture) == 1:
            return self.background(mixture)
        result = torch.empty_like(mixture)
        for index in range(len(mixture)):
            result[index : index + 1] = self.background(mixture[index : index + 1])
        return result

    def background(self, mixture: Tensor) -> Tensor:
        """Estimate the background of checked mixtures, (N, 3, H, W), contiguous, float32 or float64."""
        raise NotImplementedError

    def _settings(self) -> dict[str, object]:
        """The constructor's keywords and their values, which are attributes of the same names."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if name != "progress"}

    def report(self, done: float) -> None:
        """Call `progress`, if it is given."""
        if self.progress is not None:
            self.progress(done)


def check_mixture(mixture: Tensor) -> None:
    """DataError unless the tensor is (N, 3, H, W) with H, W >= 1, floating point and finite."""
    check_shape(mixture)
    if not mixture.is_floating_point():
        raise DataError(f"a mixture of {mixture.dtype} cannot be separated: give floating point in [0, 1]")
    # The sum is several times faster to look at, and tells all but an overflow apart.
    if not mixture.sum().isfinite() and not mixture.isfinite().all():
        index = int((~mixture.isfinite().flatten(1).all(1)).nonzero()[0])
        raise DataError(f"image {index} of the batch holds NaN or infinity: mend the file or leave the image out")


def checked(name: str, value: float, low: float, high: float = math.inf, open_low: bool = False) -> float:
    """A constant as float; ConfigError unless low <= value <= high (low < value where `open_low`) and finite."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (open_low and value == low):
        limits = f"above {low:g}" if open_low else f"at least {low:g}"
        limits += f" and at most {high:g}" if high < math.inf else ""
        raise ConfigError(f"{name}={value} is out of range: give a number {limits}")
    return float(value)


def checked_count(name: str, value: int, low: int = 1) -> int:
    """A constant that counts; ConfigError unless it is a whole number >= low."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{name}={value} is not a count: give a whole number of at least {low}")
    return value
