"""SSIM against scikit-image, SI against scipy written out."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from crrn.image.similarity import moments, si_map, ssim_map


def pair(height: int = 23, width: int = 31, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, height, width, dtype=dtype, generator=generator)
    return x, (x + 0.3 * torch.rand(x.shape, dtype=dtype, generator=generator)).clamp(0, 1)


def skimage_ssim(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """The map of two planes, valid region."""
    _, full = structural_similarity(
        x.numpy(), y.numpy(), data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return full[5:-5, 5:-5]


def scipy_si(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    def mean(plane: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(plane, 1.5, radius=5)[5:-5, 5:-5]

    a, b = x.numpy(), y.numpy()
    covariance = mean(a * b) - mean(a) * mean(b)
    variances = mean(a**2) - mean(a) ** 2 + mean(b**2) - mean(b) ** 2
    return (2 * covariance + 0.03**2) / (variances + 0.03**2)


@pytest.mark.parametrize(("ours", "oracle"), [(ssim_map, skimage_ssim), (si_map, scipy_si)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_equals_its_oracle(ours, oracle, dtype, tolerance):
    x, y = pair()
    result = ours(moments(x.to(dtype), y.to(dtype)))
    assert result.dtype == dtype
    assert result.shape == (2, 3, 13, 21)
    for n in range(2):
        for c in range(3):
            np.testing.assert_allclose(result[n, c], oracle(x[n, c], y[n, c]), atol=tolerance)


def test_an_image_of_the_windows_size_gives_one_value():
    x, y = pair(11, 11)
    np.testing.assert_allclose(ssim_map(moments(x, y))[0, 0], skimage_ssim(x[0, 0], y[0, 0]), atol=1e-10)


def test_equal_images_and_offsets():
    x, _ = pair()
    torch.testing.assert_close(ssim_map(moments(x, x)), torch.ones(2, 3, 13, 21, dtype=x.dtype))
    torch.testing.assert_close(si_map(moments(x, x + 0.2)), torch.ones(2, 3, 13, 21, dtype=x.dtype))
    assert ssim_map(moments(x, x + 0.2)).mean() < 0.99


@pytest.mark.parametrize("form", [ssim_map, si_map])
def test_gradcheck(form):
    x, y = (image[:1, :1, :12, :13].contiguous().requires_grad_() for image in pair())
    assert torch.autograd.gradcheck(lambda x, y: form(moments(x, y)), (x, y))


def test_low_precision_is_computed_in_float32():
    x, y = pair(dtype=torch.float32)
    expected = ssim_map(moments(x, y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssim_map(moments(x, y)), expected)
    half = ssim_map(moments(x.bfloat16(), y.bfloat16()))
    assert torch.equal(half, ssim_map(moments(x.bfloat16().float(), y.bfloat16().float())))


def test_refuses_small_images_and_other_shapes():
    with pytest.raises(ValueError, match="too small for a window of 11"):
        moments(torch.rand(1, 3, 10, 40), torch.rand(1, 3, 10, 40))
    with pytest.raises(ValueError, match="cannot be compared"):
        moments(torch.rand(1, 3, 20, 20), torch.rand(1, 1, 20, 20))
