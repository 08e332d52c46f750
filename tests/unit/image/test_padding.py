"""Padding against numpy, which also goes on reflecting where the image is smaller than its padding."""

import numpy as np
import pytest
import torch

from crrn.image.padding import crop, pad_to_multiple


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (2, 3), (17, 5), (33, 47), (31, 64)])
def test_equals_numpy_and_comes_back(height, width):
    image = torch.rand(2, 3, height, width)
    padded = pad_to_multiple(image, 32)
    bottom, right = -height % 32, -width % 32
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (0, bottom), (0, right)), mode="reflect")
    np.testing.assert_array_equal(padded, expected)
    assert torch.equal(crop(padded, height, width), image)


def test_a_multiple_is_not_copied():
    image = torch.rand(1, 3, 64, 96)
    assert pad_to_multiple(image, 32) is image


def test_gradient_flows():
    image = torch.rand(1, 1, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pad_to_multiple(x, 8), image)
