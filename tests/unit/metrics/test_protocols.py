"""Every named protocol against its recipe written out with Pillow, NumPy and scikit-image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tests.conftest import write_photo

from crrn.errors import ConfigError
from crrn.image.picture import to_tensor
from crrn.metrics import PROTOCOLS, ImageMean, Protocol, custom_protocol, derive_mask, lmse, ncc, ssim_uniform

Photo = NDArray[np.uint8]
Image01 = NDArray[np.float64]


def read(path: Path) -> Photo:
    return np.asarray(Image.open(path).convert("RGB"))


def photos_of_skimage() -> tuple[Photo, Photo]:
    """A cat and a cup of coffee, which scikit-image brings along, at an odd size."""
    return np.array(data.chelsea()[:, :449]), np.array(data.coffee()[70:370, 90:539])


@pytest.fixture(scope="module", params=["made", "photos", "smooth-3"])
def triplet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Photo, Photo, Photo]:
    """Mixture, background, reflection: made on the spot at an odd size, of two photos, or real ones where they are at
    hand."""
    if request.param == "photos":
        background, reflection = photos_of_skimage()
        reflection //= 3
        return (background * 0.7 + reflection).clip(0, 255).astype(np.uint8), background, reflection
    if request.param != "made":
        images: Path = request.getfixturevalue("shared_data") / "ceilnet_synthetic"
        names = ("input", "label1", "label2")
        return tuple(read(images / f"{request.param}-{name}.png") for name in names)  # type: ignore[return-value]
    folder = tmp_path_factory.mktemp("triplet")
    for seed in (1, 2):
        write_photo(folder / f"{seed}.png", seed, height=173, width=131)
    background, reflection = read(folder / "1.png"), read(folder / "2.png") // 3
    return (background * 0.7 + reflection).clip(0, 255).astype(np.uint8), background, reflection


def resized(photo: Photo, height: int, width: int) -> Photo:
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))


def psnr_of(error: Image01) -> float:
    return float(10 * np.log10(1 / np.mean(error**2)))


def gaussian(x: Image01, y: Image01) -> float:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    return float(structural_similarity(x, y, channel_axis=2, **options))


def per_channel(x: Image01, y: Image01) -> float:
    bands = [structural_similarity(x[..., c] * 255, y[..., c] * 255, data_range=255) for c in range(3)]
    return float(np.mean(bands))


def lmse_by_loops(x: Image01, y: Image01) -> float:
    """Window by window, channel by channel, on pixels in [0, 255]."""
    left_over = total = 0.0
    for c in range(3):
        for top in range(0, y.shape[0] - 19, 10):
            for left in range(0, y.shape[1] - 19, 10):
                window = slice(top, top + 20), slice(left, left + 20), c
                a, b = x[window] * 255, y[window] * 255
                scale = (a * b).sum() / (a * a).sum() if (a * a).sum() > 1e-5 else 0
                left_over += ((b - scale * a) ** 2).sum()
                total += (b * b).sum()
    return float(left_over / total)


def expected(name: str, estimate: Image01, target: Image01) -> dict[str, float]:
    """What the table of protocols says, for an estimate and a ground truth of the evaluated size, in [0, 1]."""
    if name in ("crrn", "native"):
        return {"psnr": psnr_of(estimate - target), "ssim": gaussian(estimate, target)}
    if name in ("errnet", "floor32"):
        channels = [psnr_of(estimate[..., c] - target[..., c]) for c in range(3)]
        values = {"psnr": float(np.mean(channels)), "ssim": per_channel(estimate, target)}
        if name == "errnet":
            values["ncc"] = float(np.corrcoef(estimate.ravel(), target.ravel())[0, 1])
            values["lmse"] = lmse_by_loops(estimate, target)
        return values
    x, y = np.rint(estimate * 255).astype(np.uint8), np.rint(target * 255).astype(np.uint8)
    if name == "openrr":
        x, y = x[4:-4, 4:-4], y[4:-4, 4:-4]
        return {"psnr": peak_signal_noise_ratio(y, x, data_range=255), "ssim": gaussian(x / 255, y / 255)}
    return {
        "psnr": float(peak_signal_noise_ratio(y, x, data_range=255)),
        "ssim": float(structural_similarity(x, y, channel_axis=2, data_range=255)),
    }


def size_of(name: str, height: int, width: int) -> tuple[int, int]:
    if name == "crrn":
        return (288, 224) if height > width else (224, 288)
    if name == "floor32":
        return height // 32 * 32, width // 32 * 32
    if name == "ibcln":
        return round(height / 4) * 4, round(width / 4) * 4
    return height, width


def estimate_of(mixture: Photo) -> Image01:
    """An unrounded estimate that leaves [0, 1] here and there."""
    return np.float64(np.float32(mixture / 255 * 1.1 - 0.03))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_equal_their_recipe_written_out(name: str, triplet: tuple[Photo, Photo, Photo]) -> None:
    protocol = PROTOCOLS[name]
    mixture, background, reflection = triplet
    size = size_of(name, *mixture.shape[:2])
    estimate = estimate_of(resized(mixture, *size))
    target = resized(background, *size) / 255

    assert np.array_equal(protocol.fit(background), resized(background, *size))
    mask = derive_mask(to_tensor(protocol.fit(reflection)))
    x = torch.tensor(estimate, dtype=torch.float32).permute(2, 0, 1)[None]
    measured = protocol.measure(x, to_tensor(protocol.fit(background)), mask)

    wanted = expected(name, estimate.clip(0, 1), target)
    assert set(wanted) <= set(measured)
    for metric, value in wanted.items():
        assert measured[metric].item() == pytest.approx(value, rel=0, abs=1e-6), metric


def test_ssim_of_a_region_is_the_mean_of_the_full_map() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 40, 50))
    mask = np.zeros((40, 50), bool)
    mask[3:22, 10:31] = True
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    _, full = structural_similarity(x, y, full=True, **options)
    inside = mask.copy()
    inside[:5] = inside[-5:] = inside[:, :5] = inside[:, -5:] = False
    planes = (torch.tensor(image).expand(1, 3, -1, -1) for image in (x, y))
    values = PROTOCOLS["native"].measure(*planes, mask=torch.tensor(mask)[None, None])
    assert values["ssim_r"].item() == pytest.approx(full[inside].mean(), abs=1e-6)
    assert 0 < abs(values["si_r"].item()) < 1


def test_an_empty_mask_has_no_value_and_is_counted() -> None:
    x, y = torch.rand(2, 1, 3, 30, 30)
    nothing = torch.zeros(1, 1, 30, 30, dtype=torch.bool)
    values = PROTOCOLS["crrn"].measure(x, y, nothing)
    assert values["ssim_r"].isnan().all() and values["si_r"].isnan().all() and not values["ssim"].isnan().any()
    metric = ImageMean(lambda a, b, mask: PROTOCOLS["crrn"].measure(a, b, mask)["ssim_r"])
    metric.update(x, y, nothing)
    metric.update(x, x, ~nothing)
    assert metric.compute() == pytest.approx(1) and metric.skipped == 1


def test_psnr_is_the_mean_of_images_not_of_a_pooled_error() -> None:
    target = torch.full((2, 3, 32, 32), 0.5)
    estimate = target + torch.tensor([0.1, 0.001]).view(2, 1, 1, 1)
    assert PROTOCOLS["errnet"].measure(estimate, target)["psnr"].mean() == pytest.approx(40, abs=1e-3)


def test_lmse_forgives_a_scale_in_each_window_and_ncc_an_affine_change() -> None:
    image = torch.rand(1, 3, 60, 50, dtype=torch.float64)
    assert lmse(image * 0.3, image) == pytest.approx(0, abs=1e-12)
    assert lmse(torch.zeros_like(image), image) == pytest.approx(1)
    assert ncc(image * 0.3 + 0.2, image) == pytest.approx(1)


def test_images_too_small_or_of_other_sizes_are_refused() -> None:
    small = torch.rand(1, 3, 6, 40)
    with pytest.raises(ValueError, match="window of 7"):
        ssim_uniform(small, small)
    with pytest.raises(ValueError, match="window of 20"):
        lmse(small, small)
    with pytest.raises(ValueError, match="ground truth"):
        PROTOCOLS["native"].measure(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 40))


def test_a_custom_protocol_cannot_take_a_published_name() -> None:
    with pytest.raises(ConfigError, match="crrn"):
        custom_protocol(name="crrn", metrics=["psnr"])
    with pytest.raises(ConfigError, match="psnrr"):
        custom_protocol(name="own", metrics=["psnrr"])
    with pytest.raises(ConfigError, match="resize"):
        custom_protocol(name="own", metrics=["psnr"], resize="half")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ncc_in_single_precision(dtype: torch.dtype) -> None:
    """Several chunks and little contrast on a bright ground; a flat image has no correlation, one odd pixel has."""
    x = (0.9 + 0.01 * torch.rand(2, 3, 160, 180, dtype=torch.float64)).to(dtype)
    y = (x + 0.005 * torch.rand(x.shape, dtype=torch.float64)).to(dtype)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(*(image.flatten(1).numpy() for image in (x, y)), strict=True)]
    assert ncc(x, y) == pytest.approx(np.array(expected), abs=1e-6)
    flat = torch.full_like(x, 0.3)
    assert ncc(x, flat).isnan().all()
    flat[:, 0, 0, 0] += 1 / 255
    assert not ncc(x, flat).isnan().any()


def test_lmse_in_single_precision() -> None:
    generator = np.random.default_rng(3)
    x = generator.random((41, 57, 3)).astype(np.float32)
    y = (x * 0.9 + 0.02 * generator.random(x.shape)).astype(np.float32)
    tensors = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in (x, y))
    assert lmse(*tensors).item() == pytest.approx(lmse_by_loops(np.float64(x), np.float64(y)), abs=1e-8)


class Tone:
    """A metric of one's own: the difference of the means, in levels of 8 bits."""

    name, label, unit, higher_is_better, digits = "tone", "Tone", "levels", False, 1

    def __init__(self, scale: float = 255.0) -> None:
        self.scale = scale

    def __call__(self, estimate: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.scale * (estimate.mean((1, 2, 3)) - target.mean((1, 2, 3))).abs()


def changed(**attributes: object) -> object:
    return type("Tone", (Tone,), attributes)()


def test_a_protocol_takes_a_metric_of_ones_own() -> None:
    protocol = custom_protocol(name="mine", metrics=["psnr", Tone()], crop=4)
    estimate, target = torch.rand(2, 3, 40, 50) * 1.2, torch.rand(2, 3, 40, 50)
    values = protocol.measure(estimate, target)
    assert list(values) == ["psnr", "tone"]
    x, y = (image.clamp(0, 1).numpy()[..., 4:-4, 4:-4].astype(np.float64) for image in (estimate, target))
    expected = 255 * np.abs(x.mean((1, 2, 3)) - y.mean((1, 2, 3)))
    np.testing.assert_allclose(values["tone"], expected, rtol=1e-3)
    assert "Tone by" in protocol.describe() and "Tone by" not in PROTOCOLS["native"].describe()


def test_the_record_of_a_metric_of_ones_own_rebuilds_what_tables_need() -> None:
    protocol = custom_protocol(name="mine", metrics=["psnr", Tone(2.0)])
    again = Protocol(name="mine", **json.loads(json.dumps(protocol.recipe())))
    assert again.digest() == protocol.digest() and again == protocol and hash(again) == hash(protocol)
    assert again.own["tone"] == {
        "class": f"{__name__}.Tone",
        "settings": {"scale": 2.0},
        "label": "Tone",
        "unit": "levels",
        "higher_is_better": False,
        "digits": 1,
    }
    assert list(again.measure(torch.rand(1, 3, 40, 50), torch.rand(1, 3, 40, 50))) == ["psnr"]
    assert custom_protocol(name="mine", metrics=["psnr", Tone(3.0)]).digest() != protocol.digest()
    assert PROTOCOLS["native"].digest() == "7a76800a" and "own" not in PROTOCOLS["native"].recipe()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Tone, r"protocol\.mine\.metrics: <class .*Tone'> is not a metric; .*_target_"),
        (lambda x, y: x, r"is not a metric; .*a class with __call__, name and higher_is_better"),
        (changed(name="psnr"), r"has the name 'psnr', which is taken"),
        (changed(name="to ne"), r"has the name 'to ne', which is taken or has other signs"),
        (changed(higher_is_better=None), r"Tone does not say which way is better: give it higher_is_better"),
        (changed(digits=99), r"protocol\.mine\.metrics\.tone\.digits=99: give 0 to 10"),
        (changed(unit=3), r"protocol\.mine\.metrics\.tone\.unit is 3, not a text"),
    ],
)
def test_a_wrong_metric_of_ones_own_is_refused(metric: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        custom_protocol(name="mine", metrics=["psnr", metric])


@pytest.mark.parametrize("value", [0.5, torch.zeros(()), torch.zeros(1, 3)])
def test_a_metric_of_ones_own_gives_one_number_for_each_image(value: object) -> None:
    metric = changed(__call__=lambda self, estimate, target: value)
    with pytest.raises(ConfigError, match=r"The metric tone returns a.*: give one number for each image"):
        custom_protocol(name="mine", metrics=[metric]).measure(torch.rand(1, 3, 40, 50), torch.rand(1, 3, 40, 50))
