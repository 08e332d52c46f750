"""Gain, harm rate and colour match against NumPy and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from crrn.metrics import ImageQuality, colour_match, gains, matched_gains, mean, quality


def images(seed: int, count: int = 3, height: int = 20, width: int = 24) -> Tensor:
    """Images of smooth colours with some noise, each channel with a brightness of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / height
    waves = np.sin(3 * x[None, None] * rng.uniform(0.5, 2, (count, 3, 1, 1)) + 4 * y * rng.uniform(0, 1))
    noisy = rng.uniform(0.3, 0.7, (count, 3, 1, 1)) + 0.2 * waves + rng.normal(0, 0.03, (count, 3, height, width))
    return torch.tensor(noisy.clip(0, 1), dtype=torch.float32)


def matched_by_numpy(image: Tensor, truth: Tensor) -> np.ndarray:
    """Each channel fitted by `np.linalg.lstsq`, one after the other."""
    matched = np.empty(image.shape)
    for n, channel in np.ndindex(*image.shape[:2]):
        x, y = (plane[n, channel].double().numpy().ravel() for plane in (image, truth))
        (gain, offset), *_ = np.linalg.lstsq(np.stack((x, np.ones_like(x)), 1), y, rcond=None)
        matched[n, channel] = (gain * x + offset).reshape(image.shape[2:]).clip(0, 1)
    return matched


def ssim_by_skimage(x: np.ndarray, y: np.ndarray) -> float:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    return structural_similarity(x, y, channel_axis=0, **options)


def test_colour_match_equals_numpy():
    image, truth = images(0), images(1)
    np.testing.assert_allclose(colour_match(image, truth), matched_by_numpy(image, truth), atol=2e-6)


def test_colour_match_equals_polyfit_in_double_precision():
    image, truth = images(0).double(), images(1).double()
    gain, offset = np.polyfit(image[0, 1].numpy().ravel(), truth[0, 1].numpy().ravel(), 1)
    expected = (gain * image[0, 1] + offset).clamp(0, 1)
    torch.testing.assert_close(colour_match(image, truth)[0, 1], expected, rtol=0, atol=1e-12)


def test_colour_match_undoes_a_change_of_tone():
    truth = images(1)
    gain, offset = torch.tensor([0.5, 0.7, 0.9]).view(3, 1, 1), torch.tensor([0.1, 0.0, 0.05]).view(3, 1, 1)
    torch.testing.assert_close(colour_match(truth * gain + offset, truth), truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_flat_channel_becomes_the_mean_of_the_truth(value):
    truth = images(1)
    matched = colour_match(torch.full_like(truth, value), truth)
    torch.testing.assert_close(matched, truth.mean((2, 3), keepdim=True).expand_as(truth), rtol=0, atol=1e-5)


def test_matched_gains_equal_numpy_and_skimage():
    estimate, identity, truth = 1.3 * images(0) - 0.2, images(2), images(1)
    result = matched_gains(estimate, identity, truth)
    assert result.keys() == {"matched_gain_ssim", "matched_gain_psnr"}
    ours, theirs = (matched_by_numpy(image.clamp(0, 1), truth) for image in (estimate, identity))
    y = truth.double().numpy()
    for n in range(3):
        psnrs = [peak_signal_noise_ratio(y[n], x[n], data_range=1) for x in (ours, theirs)]
        ssims = [ssim_by_skimage(x[n], y[n]) for x in (ours, theirs)]
        assert result["matched_gain_psnr"][n].item() == pytest.approx(psnrs[0] - psnrs[1], abs=1e-4)
        assert result["matched_gain_ssim"][n].item() == pytest.approx(ssims[0] - ssims[1], abs=1e-5)


def test_tone_alone_gains_nothing_after_the_match():
    truth, identity = images(1), 0.6 * images(0) + 0.3
    brighter = (identity - 0.2) * 1.2
    plain = gains(quality(brighter, truth), quality(identity, truth))
    assert plain["gain_psnr"].abs().min() > 0.5
    for name, value in matched_gains(brighter, identity, truth).items():
        torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-3 if name.endswith("psnr") else 1e-5)


def test_separation_remains_after_the_match():
    truth = images(1)
    reflection = 0.3 * images(5)
    worse, better = (truth + reflection).clamp(0, 1), (truth + 0.3 * reflection).clamp(0, 1)
    assert (matched_gains(0.8 * better, worse, truth)["matched_gain_psnr"] > 1).all()


@pytest.mark.parametrize(
    ("psnr", "ssim", "harm"),
    [
        (0, 0, 0),
        (1, 0.1, 0),
        (-0.04, -0.0009, 0),
        (-0.06, 0.1, 1),
        (5, -0.0011, 1),
        (-0.06, -0.1, 1),
        (float("nan"), 0, 1),
    ],
)
def test_an_image_is_harmed_by_psnr_or_ssim(psnr, ssim, harm):
    identity = {"ssim": torch.tensor([0.8]), "si": torch.tensor([0.9]), "psnr": torch.tensor([20.0])}
    change = {"ssim": ssim, "si": 0.01, "psnr": psnr}
    result = gains({name: value + change[name] for name, value in identity.items()}, identity)
    assert result["harm_rate"].tolist() == [harm]
    for name, value in change.items():
        assert result[f"gain_{name}"].item() == pytest.approx(value, abs=1e-5, nan_ok=True)


class NoDouble(TorchDispatchMode):
    """What MPS is: a device that refuses float64."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor) and tensor.dtype == torch.float64:
                raise TypeError(f"{func} makes float64, which MPS does not have")
        return result


def test_nothing_needs_float64_on_a_device_without_it(monkeypatch):
    estimate, identity, truth = images(0), images(2), images(1)
    expected = matched_gains(estimate, identity, truth)["matched_gain_psnr"].float()
    monkeypatch.setattr(mean, "WITHOUT_DOUBLE", ("cpu",))
    with NoDouble():
        metric = ImageQuality()
        metric.update(estimate, truth)
        means = metric.compute()
        plain = gains(quality(estimate, truth), quality(identity, truth))
        matched = matched_gains(estimate, identity, truth)["matched_gain_psnr"]
    assert {value.dtype for value in (*means.values(), *plain.values(), matched)} == {torch.float32}
    torch.testing.assert_close(matched, expected, rtol=0, atol=1e-4)
