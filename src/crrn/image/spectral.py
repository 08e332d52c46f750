"""Functions of the Laplacian, by FFT where the image is periodic and by DCT where its border is replicated.

The five-point Laplacian L is diagonal under these transforms, so that f(-L) is a product there: every equation whose
operator is made of L alone is solved in one transform there and one back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def periodic_filter(image: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply f(-L), L the circular Laplacian.

    Args:
        image: (..., H, W), float32 or float64, any H, W >= 1.
        gain: f, pointwise: from the eigenvalues of -L, in [0, 8], which are 4 sin^2(pi k / H) + 4 sin^2(pi l / W), to
            as many factors.

    Returns:
        (..., H, W).
    """
    height, width = image.shape[-2:]
    eigenvalues = _quarter_waves(height, height, image)[:, None] + _quarter_waves(width // 2 + 1, width, image)
    spectrum = torch.fft.rfft2(image)
    return torch.fft.irfft2(spectrum.mul_(gain(eigenvalues)), s=(height, width))


def neumann_filter(image: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply f(-L), L the Laplacian with replicated border.

    Args:
        image: (..., H, W), float32 or float64, any H, W >= 1.
        gain: f, pointwise: from the eigenvalues of -L, in [0, 8), which are 4 sin^2(pi k / 2H) + 4 sin^2(pi l / 2W),
            to as many factors.

    Returns:
        (..., H, W).
    """
    height, width = image.shape[-2:]
    half = width // 2 + 1
    rows, columns = _quarter_waves(height, 2 * height, image), _quarter_waves(width + 1, 2 * width, image)
    pairs = torch.stack((columns[:half], columns.flip(0)[:half]), dim=-1)
    coefficients = packed_dct2(image)
    torch.view_as_real(coefficients).mul_(gain(rows[:, None, None] + pairs))
    return packed_idct2(coefficients, width)


def packed_dct2(image: Tensor) -> Tensor:
    """Two-dimensional DCT-II in the layout of a real FFT, two coefficients in a complex number.

    With C[k, l] = 4 sum x[i, j] cos(pi k (2i + 1) / 2H) cos(pi l (2j + 1) / 2W), as `scipy.fft.dctn`, and
    C[k, W] = 0, it holds C[k, l] - i C[k, W - l]. One real FFT of the image's size does it: the even samples forwards,
    then the odd ones backwards (Makhoul, 1980), along both axes.

    Args:
        image: (..., H, W), float32 or float64, any H, W >= 1.

    Returns:
        (..., H, W // 2 + 1), complex.
    """
    height, width = image.shape[-2:]
    shuffled = torch.cat((image[..., ::2], image[..., 1::2].flip(-1)), dim=-1)
    shuffled = shuffled.index_select(-2, _forth_and_back(height, image.device))
    coefficients = torch.fft.rfft2(shuffled).mul_(2 * _twists(height, width, image))
    # With a twisted row p[k], C[k] = p[k] + i p[H - k]; row 0 is its own partner.
    mirrored = coefficients[..., 1:, :].flip(-2)
    coefficients[..., 1:, :].add_(mirrored, alpha=1j)
    coefficients[..., 0, :] *= 2
    return coefficients


def packed_idct2(coefficients: Tensor, width: int) -> Tensor:
    """The inverse of `packed_dct2`, which overwrites its argument; `width` tells W, of which the packed layout keeps
    only the half."""
    height = coefficients.shape[-2]
    mirrored = coefficients[..., 1:, :].flip(-2)
    coefficients[..., 1:, :].add_(mirrored, alpha=-1j)
    coefficients.mul_(_twists(height, width, coefficients.real).conj() / 4)
    shuffled = torch.fft.irfft2(coefficients, s=(height, width))
    rows = shuffled.index_select(-2, _forth_and_back(height, shuffled.device).argsort())
    shuffled[..., ::2] = rows[..., : (width + 1) // 2]
    shuffled[..., 1::2] = rows[..., (width + 1) // 2 :].flip(-1)
    return shuffled


def _quarter_waves(count: int, size: int, like: Tensor) -> Tensor:
    """4 sin^2(pi k / size), k = 0 .. count - 1; unlike 2 - 2 cos it keeps the digits of low frequencies."""
    k = torch.arange(count, dtype=like.dtype, device=like.device)
    return 4 * torch.sin(k * (math.pi / size)).square()


def _twists(height: int, width: int, like: Tensor) -> Tensor:
    """exp(-i pi (k / 2H + l / 2W)), (H, W // 2 + 1)."""
    return _twist(height, height, like)[:, None] * _twist(width // 2 + 1, width, like)


def _twist(count: int, size: int, like: Tensor) -> Tensor:
    """exp(-i pi k / 2 size), k = 0 .. count - 1."""
    angle = torch.arange(count, dtype=like.dtype, device=like.device) * (-math.pi / (2 * size))
    return torch.polar(torch.ones_like(angle), angle)


def _forth_and_back(size: int, device: torch.device) -> Tensor:
    """0, 2, 4 .. and then .. 5, 3, 1, below `size`."""
    index = torch.arange(size, device=device)
    return torch.cat((index[::2], index[1::2].flip(0)))
