"""Gains of an image in a protocol's own measures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from crrn.evaluation.gains import gains_of
from crrn.metrics import named_protocol

IDENTITY = {"psnr": 20.0, "ssim": 0.8, "matched_psnr": 22.0, "matched_ssim": 0.82}


def test_gains_are_differences_from_the_identity() -> None:
    found = gains_of({"psnr": 21.5, "ssim": 0.81, "matched_psnr": 22.25, "matched_ssim": 0.8, "si": 0.9}, IDENTITY)
    expected = {
        "gain_psnr": 1.5,
        "gain_ssim": 0.01,
        "matched_gain_psnr": 0.25,
        "matched_gain_ssim": -0.02,
        "harm_rate": 0.0,
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("psnr", "ssim", "harm"),
    [(-0.04, 0, 0), (-0.06, 0.1, 1), (3, -0.0009, 0), (3, -0.0011, 1), (math.nan, 0, math.nan)],
)
def test_an_image_is_harmed_by_either_measure(psnr: float, ssim: float, harm: float) -> None:
    found = gains_of({"psnr": 20 + psnr, "ssim": 0.8 + ssim}, IDENTITY)
    assert found["harm_rate"] == pytest.approx(harm, nan_ok=True)
    assert "matched_gain_psnr" not in found


def test_a_protocol_without_one_of_them_has_no_harm_rate() -> None:
    assert gains_of({"psnr": 21.0}, {"psnr": 20.0}) == {"gain_psnr": 1.0}
    assert gains_of({"psnr": 21.0, "ssim": 0.9}, {}) == {}


@pytest.mark.parametrize("name", ["native", "errnet", "openrr", "ibcln"])
def test_matched_measures_equal_numpy_and_scikit_image(name: str) -> None:
    rng = np.random.default_rng(0)
    target = rng.uniform(0.2, 0.8, (40, 50, 3))
    estimate = (target + rng.normal(0, 0.05, target.shape)) * [0.6, 0.8, 1.1] + [0.1, 0.0, -0.05]
    planes = (torch.tensor(image.transpose(2, 0, 1)[None]) for image in (estimate, target))
    protocol = named_protocol(name)
    found = {metric: value.item() for metric, value in protocol.measure_matched(*planes).items()}

    inside = slice(protocol.crop, -protocol.crop or None)
    x, y = (image[inside, inside].clip(0, 1) for image in (estimate, target))
    if protocol.quantise:
        x = np.round(x * 255) / 255
    for channel in range(3):
        gain, offset = np.polyfit(x[..., channel].ravel(), y[..., channel].ravel(), 1)
        x[..., channel] = (gain * x[..., channel] + offset).clip(0, 1)
    if protocol.colour == "joint":
        psnr = peak_signal_noise_ratio(y, x, data_range=1)
    else:
        psnr = np.mean([peak_signal_noise_ratio(y[..., c], x[..., c], data_range=1) for c in range(3)])
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    options = gaussian if protocol.window == "gaussian" else {}
    ssim = structural_similarity(x, y, channel_axis=2, data_range=1, **options)
    assert found == pytest.approx({"matched_psnr": psnr, "matched_ssim": ssim}, abs=1e-5)
