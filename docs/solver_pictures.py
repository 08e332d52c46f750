"""Makes the pictures of docs/solvers.md, and prints its table: python docs/solver_pictures.py [CEILNET_CHECKPOINT]

A sharp photo (rocket) with a blurred one in it (astronaut), both of scikit-image: what every method here assumes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from crrn.image.filters import filter_separable, gaussian_kernel
from crrn.image.picture import to_picture
from crrn.metrics import psnr, si, ssim
from crrn.removers import load_remover

WIDTH, HEIGHT, GAP = 288, 208, 4
METHODS = {
    "identity": {"name": "identity"},
    "lb14": {"name": "lb14"},
    "nr17": {"name": "nr17"},
    "nr17_closed": {"name": "nr17", "inner": "closed"},
    "ws16": {"name": "ws16"},
    "yl19": {"name": "yl19"},
}


def layer(photo: np.ndarray, box: tuple[int, int, int, int]) -> Tensor:
    """A part of a photo, (1, 3, HEIGHT, WIDTH) in [0, 1]."""
    picture = Image.fromarray(photo).crop(box).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())[None].float() / 255


def scene() -> tuple[Tensor, Tensor]:
    """The mixture and its background, (1, 3, HEIGHT, WIDTH) in [0, 1]."""
    background = 0.75 * layer(skimage.data.rocket(), (60, 0, 640, 419))
    reflection = layer(skimage.data.astronaut(), (60, 0, 420, 260))
    reflection = 0.4 * filter_separable(reflection, gaussian_kernel(21, 3.0), "reflect")
    return (background + reflection).clamp(0, 1), background


def scores(estimate: Tensor, mixture: Tensor, background: Tensor) -> list[str]:
    """SSIM, SI, PSNR, and PSNR with ``brightness=mean``, as the table has them."""
    level = estimate + (mixture - estimate).mean((2, 3), keepdim=True)
    values = [metric(estimate.clamp(0, 1), background).item() for metric in (ssim, si, psnr)]
    values.append(psnr(level.clamp(0, 1), background).item())
    return [f"{value:.{digits}f}" for value, digits in zip(values, (3, 3, 1, 1), strict=True)]


def main(checkpoint: str | None = None) -> None:
    """Writes docs/images/solver_NAME.jpg: mixture, background, and twice the reflection, from its darkest value on."""
    folder = Path(__file__).parent / "images"
    mixture, background = scene()
    print("| | SSIM | SI | PSNR (dB) | PSNR with brightness=mean | Time (s) |\n|---|---:|---:|---:|---:|---:|")
    for label, name in {**METHODS, **({"fy17": checkpoint} if checkpoint else {})}.items():
        remover = load_remover(name)
        began = time.perf_counter()
        with torch.inference_mode():
            layers = remover(mixture)
        seconds = time.perf_counter() - began
        estimate = layers.background
        print(f"| {label} | {' | '.join(scores(estimate, mixture, background))} | {seconds:.2f} |")
        if label != "identity":
            seen = 2 * (layers.reflection - layers.reflection.amin((1, 2, 3), keepdim=True))
            strip = Image.new("RGB", (3 * WIDTH + 2 * GAP, HEIGHT), "white")
            for n, picture in enumerate((mixture, estimate, seen)):
                strip.paste(to_picture(picture[0].clamp(0, 1)), (n * (WIDTH + GAP), 0))
            strip.save(folder / f"solver_{label}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
