"""The gradient against scipy's Sobel filter."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from crrn.image.gradient import gradient_magnitude


def oracle(image: np.ndarray) -> np.ndarray:
    luma = np.tensordot([0.299, 0.587, 0.114], image, axes=1)
    gx, gy = (ndimage.sobel(luma, axis=axis, mode="nearest") for axis in (1, 0))
    return np.minimum(np.hypot(gx, gy), 1)


@pytest.mark.parametrize(("height", "width"), [(24, 37), (3, 3), (1, 7), (1, 1)])
def test_equals_scipy(height, width):
    images = np.random.default_rng(0).random((2, 3, height, width)) * 0.4
    result = gradient_magnitude(torch.from_numpy(images))
    assert result.shape == (2, 1, height, width)
    np.testing.assert_allclose(result[:, 0], [oracle(image) for image in images], atol=1e-12)


def test_is_clipped_to_one():
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1
    result = gradient_magnitude(step)
    assert result.max() == 1
    assert result[..., :2].abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_dtype(dtype):
    assert gradient_magnitude(torch.rand(1, 3, 5, 6).to(dtype)).dtype == dtype


def test_autocast_changes_nothing():
    image = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = gradient_magnitude(image)
    assert torch.equal(result, gradient_magnitude(image))


def test_gradient_of_a_flat_image_is_zero_not_nan():
    image = torch.full((1, 3, 6, 6), 0.5, requires_grad=True)
    gradient_magnitude(image).sum().backward()
    assert image.grad is not None
    assert torch.equal(image.grad, torch.zeros_like(image))


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    image = 0.2 * torch.rand(1, 3, 4, 5, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(gradient_magnitude, image.requires_grad_())
