"""Transforms and functions of the Laplacian against scipy and dense matrices."""

import numpy as np
import pytest
import torch
from scipy import fft, ndimage

from crrn.image.differences import differences, divergence, laplacian
from crrn.image.spectral import neumann_filter, packed_dct2, packed_idct2, periodic_filter

SIZES = [(1, 1), (1, 5), (6, 1), (2, 3), (7, 8), (8, 7), (12, 10)]


@pytest.mark.parametrize("size", SIZES)
def test_dct_equals_scipy_and_inverts(size):
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    full = np.concatenate((fft.dctn(image.numpy(), axes=(-2, -1)), np.zeros((2, 3, size[0], 1))), axis=-1)
    half = size[1] // 2 + 1
    packed = packed_dct2(image)
    np.testing.assert_allclose(packed, full[..., :half] - 1j * full[..., ::-1][..., :half], atol=1e-10)
    torch.testing.assert_close(packed_idct2(packed, size[1]), image)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("border", "mode"), [("circular", "wrap"), ("replicate", "nearest")])
def test_filters_and_differences_are_of_one_laplacian(size, border, mode):
    image = np.random.default_rng(0).random((2, 3, *size))
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=float)
    expected = np.stack([[ndimage.correlate(plane, kernel, mode=mode) for plane in planes] for planes in image])
    tensor = torch.from_numpy(image)
    apply = periodic_filter if border == "circular" else neumann_filter
    np.testing.assert_allclose(apply(tensor, lambda k: -k), expected, atol=1e-12)
    np.testing.assert_allclose(divergence(*differences(tensor, border), border), expected, atol=1e-12)


@pytest.mark.parametrize("border", ["circular", "replicate"])
def test_divergence_is_minus_the_adjoint_of_the_differences(border):
    x, y = torch.rand(2, 3, 5, 7, dtype=torch.float64), torch.rand(2, 3, 5, 7, dtype=torch.float64)
    dx, dy = differences(x, border)
    fx, fy = differences(y, border)
    torch.testing.assert_close((dx * fx + dy * fy).sum(), -(x * divergence(fx, fy, border)).sum())


@pytest.mark.parametrize("size", SIZES)
def test_laplacian_is_zero_padded(size):
    image = np.random.default_rng(1).random(size)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=float)
    expected = ndimage.correlate(image, kernel, mode="constant")
    np.testing.assert_allclose(laplacian(torch.from_numpy(image)), expected, atol=1e-14)
