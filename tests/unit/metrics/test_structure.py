"""SI, SSIMr, SIr and MS-SSIM against their formulas written out with SciPy, image by image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from crrn.metrics import ImageMean, lmse, ms_ssim, ncc, psnr, si, si_r, slmse, ssim, ssim_r, ssim_uniform, structure

Image = NDArray[np.float64]

OPTIONS = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}


def pair(images: int = 3, height: int = 37, width: int = 29) -> tuple[Tensor, Tensor]:
    """Pairs from good to bad, in double precision; smooth enough to have structure."""
    rng = np.random.default_rng(7)
    target = correlate1d(correlate1d(rng.random((images, 3, height, width)), np.ones(5) / 5, 2), np.ones(5) / 5, 3)
    target = (target - target.min()) / (target.max() - target.min())
    noise = rng.normal(size=target.shape) * np.array([0.01, 0.1, 0.4])[:images, None, None, None]
    return torch.tensor((target * 0.9 + noise + 0.05).clip(0, 1)), torch.tensor(target)


def blurred(image: Image) -> Image:
    """The 11x11 Gaussian window of sigma 1.5, valid region."""
    kernel = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    return correlate1d(correlate1d(image, kernel, axis=0), kernel, axis=1)[5:-5, 5:-5]


def si_band(x: Image, y: Image) -> Image:
    """(2 cov + c) / (var_x + var_y + c), c = 0.03^2."""
    mx, my = blurred(x), blurred(y)
    covariance = blurred(x * y) - mx * my
    variances = blurred(x * x) - mx**2 + blurred(y * y) - my**2
    return (2 * covariance + 0.03**2) / (variances + 0.03**2)


def ssim_band(x: Image, y: Image) -> Image:
    _, full = structural_similarity(x, y, full=True, **OPTIONS)
    return np.asarray(full)[5:-5, 5:-5]


def maps(form: Callable[[Image, Image], Image], x: Tensor, y: Tensor) -> Image:
    """A map of each image, mean over its three channels."""
    return np.array(
        [
            np.mean([form(a, b) for a, b in zip(p, q, strict=True)], axis=0)
            for p, q in zip(x.numpy(), y.numpy(), strict=True)
        ]
    )


def test_si_is_its_formula() -> None:
    x, y = pair()
    expected = maps(si_band, x, y).mean((1, 2))
    np.testing.assert_allclose(si(x, y), expected, atol=1e-12)
    np.testing.assert_allclose(si(x.float(), y.float()), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1


@pytest.mark.parametrize(("metric", "band"), [(ssim_r, ssim_band), (si_r, si_band)], ids=["SSIMr", "SIr"])
def test_regions_are_means_of_the_full_map(
    metric: Callable[..., Tensor], band: Callable[[Image, Image], Image]
) -> None:
    x, y = pair()
    masks = np.zeros((3, 37, 29), bool)
    masks[0, 2:20, 7:12] = masks[1, 30:, :] = True  # partly and, of the third image, wholly without a window
    masks[2, :5, :] = True
    values = metric(x, y, torch.tensor(masks)[:, None])
    full = maps(band, x, y)
    for n in (0, 1):
        assert values[n].item() == pytest.approx(full[n][masks[n, 5:-5, 5:-5]].mean(), abs=1e-12)
    assert values[2].isnan()
    assert metric(x, y, torch.ones(3, 1, 37, 29, dtype=torch.bool)).numpy() == pytest.approx(full.mean((1, 2)))


def ms_ssim_by_hand(x: Image, y: Image) -> float:
    """Wang (2003): five scales, each the 2x2 mean of the last; contrast and structure at all, luminance at the last."""
    weights, product = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), 1.0
    for scale, weight in enumerate(weights):
        form = ssim_band if scale == 4 else si_band
        product *= max(np.mean([form(a, b) for a, b in zip(x, y, strict=True)]), 0) ** weight
        height, width = (side // 2 * 2 for side in x.shape[1:])
        x, y = (sum(image[:, top:height:2, left:width:2] for top in (0, 1) for left in (0, 1)) / 4 for image in (x, y))
    return float(product)


def test_ms_ssim_is_its_formula() -> None:
    x, y = pair(3, 177, 190)  # an odd side, too
    expected = [ms_ssim_by_hand(a, b) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    np.testing.assert_allclose(ms_ssim(x, y), expected, atol=1e-12)
    # torchmetrics pads its windows by reflection and crops; it differs in the border alone
    library = multiscale_structural_similarity_index_measure(x, y, data_range=1.0, reduction="none", normalize="relu")
    np.testing.assert_allclose(ms_ssim(x, y), library, atol=0.02)
    with pytest.raises(ValueError, match="needs 176"):
        ms_ssim(x[..., :175, :], y[..., :175, :])


ALL: dict[str, Callable[..., Tensor]] = {
    "ssim": ssim,
    "si": si,
    "ssim_r": ssim_r,
    "si_r": si_r,
    "ssim_uniform": ssim_uniform,
    "psnr": psnr,
    "ncc": ncc,
    "lmse": lmse,
    "slmse": slmse,
    "ms_ssim": ms_ssim,
}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", ALL)
def test_each_is_a_metric_of_batches_on_any_device(name: str, device: str) -> None:
    images = [image.float() for image in pair(3, 180, 200)]
    if name.endswith("_r"):
        images.append(torch.arange(200).expand(3, 1, 180, 200) % 3 == 0)
    singly = [float(ALL[name](*(image[n : n + 1] for image in images))) for n in range(3)]
    metric = ImageMean(ALL[name]).to(device)
    assert isinstance(metric, Metric)
    metric.update(*(image[:2].to(device) for image in images))
    metric.update(*(image[2:].to(device) for image in images))
    assert metric.compute().device.type == device
    assert metric.compute().item() == pytest.approx(np.mean(singly), abs=1e-5)


def test_strips_give_the_means_of_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pair(height=67, width=29)
    mask = torch.tensor(np.random.default_rng(3).random((3, 1, 67, 29)) > 0.7)
    mask[1] = False
    expected = {"ssim": ssim(x, y), "si": si(x, y), "ssim_r": ssim_r(x, y, mask), "si_r": si_r(x, y, mask)}
    for rows in (1, 8, 20, 57, 1000):  # of 57 with a full window; the last strip is shorter
        monkeypatch.setitem(structure.STRIP_PIXELS, "cpu", rows * 29)
        means = structure.gaussian_means(x, y, mask)
        assert set(means) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(means[name], value, rtol=0, atol=1e-12, equal_nan=True)
    assert set(structure.gaussian_means(x, y)) == {"ssim", "si"}
    for wrong in (x[..., :10, :], x[..., :10]):
        with pytest.raises(ValueError, match="too small"):
            structure.gaussian_means(wrong, wrong)
