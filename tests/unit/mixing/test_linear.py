import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d, shift
from tests.unit.mixing.draws import draws, layers, stacked

from crrn.errors import ConfigError
from crrn.mixing import LinearMixing


def by_the_book(b, r, drawn, largest_sigma=4.0):
    """The formula for one (3, H, W) pair, in double precision, with the filters of SciPy and the resizing of OpenCV."""
    b, r = b.double().numpy(), r.double().numpy()
    height, width = b.shape[1:]
    scale = min(height, width) / 224
    gamma = drawn["gamma"]
    if drawn["sigma"] > 0:
        radius = max(1, int(np.ceil(3 * largest_sigma * scale)))
        for axis in (1, 2):
            r = gaussian_filter1d(r, drawn["sigma"] * scale, axis=axis, mode="mirror", radius=radius)
    r = r**gamma
    w = drawn["ghost_weight"]
    dx, dy = np.float64(drawn["ghost_shift"]) * scale
    ghost = np.stack([shift(channel, (dy, dx), order=1, mode="nearest") for channel in r])
    r = (r + w * ghost) / (1 + w)
    r = r * drawn["reflection_gain"] * np.float64(drawn["channel_gain"])[:, None, None]
    if drawn["region"]:
        field = cv2.resize(drawn["region_field"].astype(np.float64), (width, height), interpolation=cv2.INTER_CUBIC)
        r = r / (1 + np.exp(-drawn["region_steepness"] * (field - drawn["region_level"])))
    r = np.clip(r, 0, 1)
    b = b**gamma * drawn["background_gain"]
    return np.clip((b + r) ** (1 / gamma), 0, 1), b ** (1 / gamma), r ** (1 / gamma)


@pytest.mark.parametrize("kind", ["noise", "binary", "dark", "white"])
@pytest.mark.parametrize(("height", "width"), [(40, 50), (240, 224)])
def test_formula(kind: str, height: int, width: int) -> None:
    background, reflection = layers(2, kind, 5, height, width)
    made = draws(LinearMixing(), 7, 5)
    assert {one["region"] for one in made} == {0.0, 1.0}  # the draws try all switches both ways
    assert len({one["sigma"] > 0 for one in made}) == len({one["ghost_weight"] > 0 for one in made}) == 2
    mixtures = LinearMixing()(background, reflection, stacked(made))
    for i, one in enumerate(made):
        for layer, expected in zip(mixtures[:3], by_the_book(background[i], reflection[i], one), strict=True):
            # a shift in float32 is right to 1e-5 of a pixel, and x^(1/g) is steep near 0
            np.testing.assert_allclose(layer[i], expected, atol=5e-5)
        assert mixtures.formation is not None
        np.testing.assert_allclose(mixtures.formation[i], [one["gamma"], 1], rtol=1e-6)


def test_without_gains_and_extras_a_black_background_shows_the_reflection_and_a_black_reflection_the_background() -> (
    None
):
    model = LinearMixing(
        background_gain=(1, 1), blur_share=0, ghost_share=0, region_share=0, reflection_gain=(1, 1), channel_gain=(1, 1)
    )
    photos, _ = layers(0)
    parameters = stacked(draws(model, 0))
    black = torch.zeros_like(photos)
    torch.testing.assert_close(model(black, photos, parameters).mixture, photos)
    torch.testing.assert_close(model(photos, black, parameters).mixture, photos)


def test_draws_fill_their_ranges_and_shares() -> None:
    values = stacked(draws(LinearMixing(blur_share=0.25, ghost_share=0.5, region_share=0.75), 0, 4000))
    for name, low, high in (
        ("gamma", 1.8, 2.6),
        ("background_gain", 0.7, 1),
        ("sigma", 0.5, 4),
        ("ghost_weight", 0.2, 0.7),
        ("ghost_shift", -8, 8),
        ("reflection_gain", 0.08, 0.9),
        ("channel_gain", 0.8, 1.2),
        ("region_level", -0.8, 0.5),
        ("region_steepness", 2, 10),
    ):
        on = values[name] if low < 0 else values[name][values[name] > 0]
        margin = 0.02 * (high - low)
        assert low - 1e-6 <= on.min() < low + margin, name
        assert high - margin < on.max() <= high + 1e-6, name
        assert on.mean().item() == pytest.approx((low + high) / 2, abs=0.03 * (high - low)), name
    for name, share in (("sigma", 0.25), ("ghost_weight", 0.5), ("region", 0.75)):
        assert (values[name] > 0).float().mean().item() == pytest.approx(share, abs=0.03)
    field = values["region_field"]
    assert field.shape == (4000, 5, 5)
    assert field.mean().item() == pytest.approx(0, abs=0.02) and field.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "gamma",
        "background_gain",
        "sigma",
        "ghost_weight",
        "reflection_gain",
        "channel_gain",
        "region_level",
        "region_steepness",
    ],
)
@pytest.mark.parametrize("bounds", [(2, 1), (1000, 2000), (-1000, 1), (1,), 1.5, "wide", (float("nan"), 1)])
def test_a_bad_range_is_named(name, bounds) -> None:
    with pytest.raises(ConfigError, match=rf"^mixing\.{name}=.* is not a range: give \[low, high\] with .*\.$"):
        LinearMixing(**{name: bounds})


@pytest.mark.parametrize("name", ["blur_share", "ghost_share", "region_share", "ghost_shift"])
@pytest.mark.parametrize("value", [-0.1, 1000, "half", None, float("nan")])
def test_a_bad_number_is_named(name, value) -> None:
    with pytest.raises(ConfigError, match=rf"^mixing\.{name}=.* is out of range: give a number from 0 to "):
        LinearMixing(**{name: value})
