"""The metrics against scikit-image, and their means over images."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from crrn.metrics import ImageQuality, psnr, si, ssim


def pair(images: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pairs of very different quality, so that a mean over pixels is no mean over images."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(images, 3, 20, 24, generator=generator)
    noise = torch.randn(target.shape, generator=generator) * torch.logspace(-3, -0.3, images).view(-1, 1, 1, 1)
    return (target + noise).clamp(0, 1), target


def test_psnr_equals_skimage():
    x, y = pair()
    expected = [peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(psnr(x, y), expected, rtol=1e-5)


def test_psnr_of_equal_images_is_100_db():
    image = torch.rand(2, 3, 4, 4)
    assert psnr(image, image).tolist() == [100, 100]


def test_ssim_equals_skimage():
    x, y = pair()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    expected = [
        structural_similarity(a.double().numpy(), b.double().numpy(), channel_axis=0, **options)
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y), expected, atol=1e-5)


def test_si_ignores_brightness():
    x, _ = pair()
    torch.testing.assert_close(si(0.5 * x, 0.5 * x + 0.3), torch.ones(5), atol=1e-4, rtol=0)


def test_means_are_over_images_whatever_the_batches():
    x, y = pair(7)
    metric = ImageQuality()
    for batch in (slice(0, 4), slice(4, 5), slice(5, 7)):
        metric.update(x[batch], y[batch])
    result = metric.compute()
    expected = {"ssim": ssim(x, y), "si": si(x, y), "psnr": psnr(x, y)}
    assert result.keys() == expected.keys()
    for name, values in expected.items():
        assert result[name].dtype == torch.float64
        torch.testing.assert_close(result[name], values.double().mean(), rtol=1e-6, atol=0)


def test_both_sides_are_clipped_first():
    x, y = pair()
    metric = ImageQuality()
    metric.update(3 * x - 1, 3 * y - 1)
    clipped_x, clipped_y = (3 * x - 1).clamp(0, 1), (3 * y - 1).clamp(0, 1)
    assert metric.compute()["psnr"].item() == pytest.approx(psnr(clipped_x, clipped_y).mean().item(), rel=1e-6)


def test_two_ranks_sum_to_one():
    x, y = pair(5)
    ranks = [ImageQuality(), ImageQuality()]
    ranks[0].update(x[:2], y[:2])
    ranks[1].update(x[2:], y[2:])
    ranks[0].merge_state(ranks[1])
    whole = ImageQuality()
    whole.update(x, y)
    torch.testing.assert_close(ranks[0].compute()["ssim"], whole.compute()["ssim"])


def test_images_without_a_truth_are_left_out():
    x, y = pair(5)
    known = torch.tensor([True, False, True, True, False])
    metric = ImageQuality()
    metric.update(x[:3], y[:3], known[:3])
    metric.update(x[3:], y[3:], known[3:])
    expected = ImageQuality()
    expected.update(x[known], y[known])
    assert metric.compute() == expected.compute()


def test_no_image_with_a_truth_gives_no_mean():
    x, y = pair(2)
    metric = ImageQuality()
    metric.update(x, y, torch.zeros(2, dtype=torch.bool))
    assert metric.compute() == {}


def test_reset_forgets():
    x, y = pair(2)
    metric = ImageQuality()
    metric.update(x, x)
    metric.reset()
    metric.update(x, y)
    assert metric.compute()["psnr"] < 100


def test_refuses_images_smaller_than_the_window():
    with pytest.raises(ValueError, match="too small"):
        ImageQuality().update(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
