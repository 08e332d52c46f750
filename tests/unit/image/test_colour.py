"""Colour against scikit-image."""

import numpy as np
import torch
from skimage.color import rgb2lab

from crrn.image.colour import rgb_to_lab


def test_lab_equals_scikit_image():
    image = np.random.default_rng(0).random((2, 9, 7, 3))
    image[0, 0, :3] = [[0, 0, 0], [1, 1, 1], [0.01, 0.02, 0.03]]
    expected = np.stack([rgb2lab(one) for one in image]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(rgb_to_lab(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())), expected, atol=1e-6)
