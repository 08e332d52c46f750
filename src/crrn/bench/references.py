"""The published algorithms transcribed line by line to NumPy and SciPy: what the solvers are measured against.

Written for comparison, not for use: double precision, one image (H, W, 3) at a time, one channel at a time where the
published code goes so, the full-size transforms and direct sparse factorisations that it calls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse
from scipy.sparse.linalg import spsolve

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


def lb14(mixture: Image, smoothness: float = 50.0, threshold: float = 0.05, iterations: int = 3) -> Image:
    """Background by LB14 (Li and Brown, CVPR 2014), the mean pinned to the mixture's before the shifts, (H, W, 3)."""
    size = mixture.shape[:2]
    pixels = size[0] * size[1]
    laplacian = _otf({(0, 0): 4, (0, 1): -1, (0, -1): -1, (1, 0): -1, (-1, 0): -1}, size)
    square = np.abs(laplacian) ** 2
    first = np.abs(_otf({(0, 0): -1, (0, -1): 1}, size)) ** 2 + np.abs(_otf({(0, 0): -1, (-1, 0): 1}, size)) ** 2
    spectrum = fft.fft2(mixture, axes=(0, 1))
    background = mixture.copy()
    for iteration in range(iterations):
        weight = 2**iteration / threshold
        gx = np.roll(background, -1, axis=1) - background
        gy = np.roll(background, -1, axis=0) - background
        gx[np.abs(gx).sum(axis=2) < 1 / weight] = 0
        gy[np.abs(gy).sum(axis=2) < 1 / weight] = 0
        adjoint = np.roll(gx, 1, axis=1) - gx + np.roll(gy, 1, axis=0) - gy
        numerator = smoothness * square[..., None] * spectrum + weight * fft.fft2(adjoint, axes=(0, 1))
        quotient = numerator / (smoothness * square + weight * first + 1e-16)[..., None]
        quotient[0, 0] = spectrum[0, 0]
        background = np.real(fft.ifft2(quotient, axes=(0, 1)))
        for c in range(mixture.shape[2]):
            plane, upper = background[..., c], mixture[..., c]
            for _ in range(500):
                shift = 2 / pixels * (plane[plane < 0].sum() + plane[plane > upper].sum())
                plane -= shift
                if abs(shift) < 1 / pixels:
                    break
        background = np.clip(background, 0, mixture)
    return background


def nr17(mixture: Image, sparsity: float = 2e-3, kappa: float = 2.0, beta_max: float = 1e5) -> Image:
    """Background by NR17 (Arvanitopoulos et al., CVPR 2017), Adam inside, (H, W, 3)."""
    background = mixture.copy()
    target = _laplacian(mixture)
    beta = 2 * sparsity
    while beta < beta_max:
        h = np.roll(background, -1, axis=1) - background
        v = np.roll(background, -1, axis=0) - background
        weak = (h**2 + v**2).sum(axis=2) < sparsity / beta
        h[weak] = 0
        v[weak] = 0
        m, s = np.zeros_like(background), np.zeros_like(background)
        for t in range(1, 101):
            dx = np.roll(background, -1, axis=1) - background - h
            dy = np.roll(background, -1, axis=0) - background - v
            adjoint = np.roll(dx, 1, axis=1) - dx + np.roll(dy, 1, axis=0) - dy
            gradient = 2 * _laplacian(_laplacian(background) - target) + 2 * beta * adjoint
            m = 0.9 * m + 0.1 * gradient
            s = 0.999 * s + 0.001 * gradient**2
            background = background - 1e-3 * (m / (1 - 0.9**t)) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
        beta *= kappa
    return background


def ws16_separate(
    plane: Image, background_edges: NDArray[np.bool_], reflection_edges: NDArray[np.bool_], iterations: int = 5
) -> Image:
    """Reflection by WS16's reconstruction (Wan et al., ICIP 2016) of one channel (H, W), its mean 0.

    The weights are the paper's; the mean, which the normal equations leave free, is fixed by leaving out one pixel.
    """
    height, width = plane.shape
    x1 = sparse.diags([-1.0, 1.0], [0, 1], shape=(width - 1, width))
    y1 = sparse.diags([-1.0, 1.0], [0, 1], shape=(height - 1, height))
    x2 = sparse.diags([-1.0, 2.0, -1.0], [0, 1, 2], shape=(width - 2, width))
    y2 = sparse.diags([-1.0, 2.0, -1.0], [0, 1, 2], shape=(height - 2, height))
    rows, columns = sparse.identity(height), sparse.identity(width)
    parts = [sparse.kron(rows, x1), sparse.kron(y1, columns), sparse.kron(rows, x2), sparse.kron(y2, columns)]
    derivatives = sparse.vstack(parts).tocsr()
    u = _ws16_weights(reflection_edges, background_edges)
    v = _ws16_weights(background_edges, reflection_edges)
    a = sparse.vstack([derivatives, derivatives]).tocsr()
    b = np.concatenate([np.zeros(len(u)), derivatives @ plane.ravel()])
    squares = np.concatenate([u, v]) ** 2
    x = np.zeros(plane.size)
    for iteration in range(iterations + 1):
        e = 1 / np.maximum(np.abs(a @ x - b), 1e-5) if iteration else np.ones(len(b))
        weighted = sparse.diags(squares * e) @ a
        normal = (a.T @ weighted).tocsc()
        x = np.zeros(plane.size)
        x[1:] = spsolve(normal[1:, 1:], (weighted.T @ b)[1:], permc_spec="MMD_AT_PLUS_A")
    return (x - x.mean()).reshape(plane.shape)


def _ws16_weights(own: NDArray[np.bool_], other: NDArray[np.bool_]) -> Image:
    first = np.where(own, 0.0, np.where(other, 100.0, 50.0))
    second = np.where(other, 4.0, 1.0)
    parts = (first[:, :-1], first[:-1], second[:, 1:-1], second[1:-1])
    return np.concatenate([part.ravel() for part in parts])


def _otf(kernel: dict[tuple[int, int], float], size: tuple[int, ...]) -> NDArray[np.complex128]:
    """The transfer function of a kernel given by offset from its centre."""
    padded = np.zeros(size)
    for (row, column), value in kernel.items():
        padded[row % size[0], column % size[1]] += value
    return fft.fft2(padded)


def _laplacian(x: Image) -> Image:
    result = -4 * x
    result[1:] += x[:-1]
    result[:-1] += x[1:]
    result[:, 1:] += x[:, :-1]
    result[:, :-1] += x[:, 1:]
    return result
