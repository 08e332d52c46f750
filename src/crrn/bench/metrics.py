"""The metrics of the protocol errnet, against the straightforward way: windows in NumPy, scikit-image band by band."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crrn.bench.bench import Bench
from crrn.bench.extras import require
from crrn.bench.textures import texture
from crrn.data.settings import parse_size
from crrn.metrics import PROTOCOLS, Protocol

FIELD, OURS = "NumPy, scikit-image", "crrn"

Image = NDArray[np.float64]


class MetricsSuite:
    """Mean of the channels' PSNRs, SSIM, NCC and LMSE of one image pair, equal to 1e-6; NumPy takes one thread.

    Args:
        size: "HEIGHTxWIDTH" of the images; those of SIR2 have about 400x540.

    Raises:
        ConfigError: when it runs, if scikit-image is not installed.
    """

    def __init__(self, size: str = "400x540") -> None:
        self.size = parse_size("suite.metrics.size", size)

    def run(self, bench: Bench) -> None:
        """Measures the whole set, also on one thread, then each metric."""
        require("metrics", "skimage")
        target = texture(1, *self.size).astype(np.float32) / 255
        estimate = (0.9 * target + 0.1 * texture(2, *self.size).astype(np.float32) / 255).clip(0, 1)
        tensors = [torch.from_numpy(image).permute(2, 0, 1)[None].contiguous() for image in (estimate, target)]
        pair = [image.astype(np.float64) * 255 for image in (estimate, target)]
        where = f"{self.size[0]}x{self.size[1]}"
        for threads in dict.fromkeys((bench.threads, 1)):
            with bench.with_threads(threads):
                self._race(bench, tuple(FORMS), tensors, pair, f"errnet, {where}, {plural(threads)}", target=20)
        for name in FORMS:
            self._race(bench, (name,), tensors, pair, f"{name}, {where}, {plural(bench.threads)}")

    def _race(
        self,
        bench: Bench,
        names: tuple[str, ...],
        tensors: Sequence[Tensor],
        pair: Sequence[Image],
        title: str,
        target: float | None = None,
    ) -> None:
        bench.race(
            title,
            {FIELD: field(names, *pair), OURS: own(replace(PROTOCOLS["errnet"], metrics=names), *tensors)},
            reference=FIELD,
            tolerance=1e-6,
            targets=None if target is None else {OURS: target},
        )


def plural(threads: int) -> str:
    """Threads in words."""
    return f"{threads} thread{'s' * (threads != 1)}"


def own(recipe: Protocol, estimate: Tensor, target: Tensor) -> Callable[[], dict[str, Tensor]]:
    """The product's numbers of an image pair (1, 3, H, W) in [0, 1]."""
    return lambda: {name: value[0] for name, value in recipe.measure(estimate, target).items()}


def field(names: Sequence[str], estimate: Image, target: Image) -> Callable[[], dict[str, float]]:
    """The straightforward way's numbers of an image pair (H, W, 3) in [0, 255]."""
    return lambda: {name: FORMS[name](estimate, target) for name in names}


def psnr(x: Image, y: Image) -> float:
    """Mean of the channels' PSNRs, by scikit-image."""
    from skimage.metrics import peak_signal_noise_ratio

    return float(np.mean([peak_signal_noise_ratio(y[..., c], x[..., c], data_range=255) for c in range(3)]))


def ssim(x: Image, y: Image) -> float:
    """Mean of the channels' SSIMs, by scikit-image with its defaults."""
    from skimage.metrics import structural_similarity

    return float(np.mean([structural_similarity(y[..., c], x[..., c], data_range=255) for c in range(3)]))


def ncc(x: Image, y: Image) -> float:
    """mean((x - mx)(y - my)) / (sx sy)."""
    return float(np.mean((x - x.mean()) * (y - y.mean())) / (x.std() * y.std()))


def lmse(x: Image, y: Image) -> float:
    """sum_w min_a ||y_w - a x_w||^2 / sum_w ||y_w||^2: windows of 20x20, stride 10, channel by channel."""
    left = total = 0.0
    height, width, channels = y.shape
    for c in range(channels):
        for top in range(0, height - 19, 10):
            for start in range(0, width - 19, 10):
                a = x[top : top + 20, start : start + 20, c]
                b = y[top : top + 20, start : start + 20, c]
                energy = np.sum(a * a)
                scale = np.sum(a * b) / energy if energy > 1e-5 else 0.0
                left += np.sum((b - scale * a) ** 2)
                total += np.sum(b * b)
    return float(left / total)


FORMS: dict[str, Callable[[Image, Image], float]] = {"psnr": psnr, "ssim": ssim, "ncc": ncc, "lmse": lmse}
"""By the protocol's name of the metric."""
