"""The published algorithms transcribed line by line to NumPy and SciPy: what the solvers are measured against.

Written for comparison, not for use: double precision, one image (H, W, 3) at a time, one channel at a time where the
published code goes so, the full-size transforms and direct sparse factorisations that it calls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Image = NDArray[np.float64]


def yl19(mixture: Image, threshold: float = 0.033, epsilon: float = 1e-8) -> Image:
    """Background by YL19 (Yang et al., CVPR 2019), mu = 1 and lambda = 0, (H, W, 3)."""
    background = np.zeros_like(mixture)
    height, width, channels = mixture.shape
    for c in range(channels):
        gx, gy = _gradient(mixture[..., c])
        weak = np.sqrt(gx**2 + gy**2) <= threshold
        gx[weak] = 0
        gy[weak] = 0
        rhs = _divergence(*_gradient(_divergence(gx, gy))) + epsilon * mixture[..., c]
        k = np.cos(np.pi / height * np.arange(height))[:, None]
        l = np.cos(np.pi / width * np.arange(width))[None, :]  # noqa: E741 (the published name)
        kappa = 2 * (k + l - 2)
        background[..., c] = fft.idctn(fft.dctn(rhs) / (kappa**2 + epsilon))
    return background


def _gradient(x: Image) -> tuple[Image, Image]:
    """Forward differences along W and H, 0 at the end."""
    gx, gy = np.zeros_like(x), np.zeros_like(x)
    gx[:, :-1] = x[:, 1:] - x[:, :-1]
    gy[:-1] = x[1:] - x[:-1]
    return gx, gy


def _divergence(gx: Image, gy: Image) -> Image:
    x = gx + gy
    x[:, 1:] -= gx[:, :-1]
    x[1:] -= gy[:-1]
    return x
