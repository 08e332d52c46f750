"""Gaussian filtering against scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.signal.windows import gaussian

from crrn.image.filters import filter_separable, gaussian_kernel


def blurred(image: np.ndarray, kernel: np.ndarray, mode: str = "mirror") -> np.ndarray:
    return ndimage.correlate1d(ndimage.correlate1d(image, kernel, axis=-2, mode=mode), kernel, axis=-1, mode=mode)


@pytest.mark.parametrize(("size", "sigma"), [(11, 1.5), (5, 0.7), (4, 2.0), (1, 1.0)])
def test_kernel_equals_scipy(size, sigma):
    expected = gaussian(size, sigma)
    kernel = gaussian_kernel(size, sigma, dtype=torch.float64)
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-12)


def test_a_tensor_of_sigmas_gives_a_kernel_each():
    sigmas = torch.tensor([2.0, 3.5, 5.0], dtype=torch.float64)
    kernels = gaussian_kernel(11, sigmas)
    assert kernels.shape == (3, 11)
    for kernel, sigma in zip(kernels, sigmas, strict=True):
        torch.testing.assert_close(kernel, gaussian_kernel(11, sigma.item(), dtype=torch.float64))


def test_valid_and_reflect_equal_scipy():
    image = np.random.default_rng(0).random((2, 3, 15, 19))
    kernel = gaussian_kernel(11, 1.5, dtype=torch.float64)
    expected = blurred(image, kernel.numpy())
    np.testing.assert_allclose(filter_separable(torch.from_numpy(image), kernel, "reflect"), expected, rtol=1e-12)
    np.testing.assert_allclose(filter_separable(torch.from_numpy(image), kernel), expected[..., 5:-5, 5:-5], rtol=1e-12)


def test_each_image_is_filtered_with_its_own_kernel():
    image = np.random.default_rng(1).random((3, 2, 14, 12)).astype(np.float32)
    kernels = gaussian_kernel(11, torch.tensor([2.0, 3.0, 5.0]))
    result = filter_separable(torch.from_numpy(image), kernels, "reflect")
    for n in range(3):
        np.testing.assert_allclose(result[n], blurred(image[n], kernels[n].numpy()), atol=1e-6)


def test_an_asymmetric_kernel_is_correlated_not_flipped():
    image = np.random.default_rng(2).random((1, 1, 8, 8))
    kernel = np.array([0.1, 0.3, 0.6])
    result = filter_separable(torch.from_numpy(image), torch.from_numpy(kernel), "reflect")
    np.testing.assert_allclose(result, blurred(image, kernel), rtol=1e-12)


def test_channels_last_and_autocast_change_nothing():
    image, kernel = torch.rand(2, 3, 20, 20), gaussian_kernel(11, 1.5)
    expected = filter_separable(image, kernel)
    assert torch.equal(filter_separable(image.to(memory_format=torch.channels_last), kernel), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(filter_separable(image, kernel), expected)


def test_refuses_an_even_kernel_and_too_small_an_image():
    image = torch.rand(1, 1, 10, 30)
    with pytest.raises(ValueError, match="odd"):
        filter_separable(image, torch.ones(4))
    with pytest.raises(ValueError, match="10x30 is too small"):
        filter_separable(image, gaussian_kernel(11, 1.5))
    with pytest.raises(ValueError, match="5x5 is too small"):
        filter_separable(image[..., :5, :5], gaussian_kernel(11, 1.5), "reflect")
    assert filter_separable(image[..., :6, :6], gaussian_kernel(11, 1.5), "reflect").shape == (1, 1, 6, 6)
