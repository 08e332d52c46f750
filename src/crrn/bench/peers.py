"""How the field's training code makes a mixture, sample by sample in the loader's workers.

Written from the published formulas (CEILNet's formation, Fan et al., ICCV 2017) in the way that the field's projects
share: PIL decodes and resizes each photo, every channel is blurred by a two-dimensional convolution in SciPy, all in
NumPy on one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.signal import convolve2d
from torch import Tensor

from crrn.data.photos import Photo

KERNEL = 11


def read(file: Path, size: tuple[int, int]) -> Photo:
    """One photo, uint8 (height, width, 3)."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((size[1], size[0]), Image.Resampling.BICUBIC))


def synthesise(background: Photo, reflection: Photo, sigma: float) -> tuple[NDArray[np.float32], ...]:
    """Mixture, background and visible reflection of one sample, float (H, W, 3) in [0, 1]."""
    b = background.astype(np.float32) / np.float32(255)
    r = reflection.astype(np.float32) / np.float32(255)
    row = cv2.getGaussianKernel(KERNEL, sigma)
    kernel = row @ row.T
    padded = np.pad(r, ((KERNEL // 2,) * 2, (KERNEL // 2,) * 2, (0, 0)), mode="reflect")
    blurred = np.stack([convolve2d(padded[..., c], kernel, mode="valid") for c in range(3)], axis=2)
    mixture = b + blurred
    if mixture.max() > 1:
        blurred = np.clip(blurred - 1.3 * np.mean((mixture - 1)[mixture > 1]), 0, 1)
        mixture = np.clip(b + blurred, 0, 1)
    return mixture.astype(np.float32), b, blurred.astype(np.float32)


def batch(samples: Sequence[tuple[NDArray[np.float32], ...]]) -> tuple[Tensor, ...]:
    """Stacks samples to (N, 3, H, W) tensors, each sample transposed first."""
    tensors = [[torch.from_numpy(layer.transpose(2, 0, 1).copy()) for layer in sample] for sample in samples]
    return tuple(torch.stack(layers) for layers in zip(*tensors, strict=True))
