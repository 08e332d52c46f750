"""What each formation model does beyond its formula: limits, ranges of draws, settings of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.mixing.draws import drawn, layers

from crrn.errors import ConfigError
from crrn.mixing import (
    CEILNetMixing,
    FresnelMixing,
    GammaMixing,
    GhostingMixing,
    LinearMixing,
    Mixing,
    PaperMixing,
    ScreenMixing,
    TransferMixing,
)
from crrn.mixing.fresnel import ramp, reflectance
from crrn.mixing.gamma import vignette


def test_the_papers_reflection_as_captured_is_not_weighted() -> None:
    background, reflection = layers(1)
    parameters = {"alpha": torch.tensor([0.8, 0.9, 1.0]), "beta": torch.tensor([0.1, 0.5, 0.3])}
    made = PaperMixing(reflection_target="captured")(background, reflection, parameters)
    assert torch.equal(made.mixture, PaperMixing()(background, reflection, parameters).mixture)
    assert torch.equal(made.reflection, reflection)


def test_ceilnet_leaves_a_dark_sum_unlowered() -> None:
    background, reflection = layers(3, "dark")
    made = CEILNetMixing()(background, reflection, drawn(CEILNetMixing(), 0))
    torch.testing.assert_close(made.mixture, background + made.reflection)
    torch.testing.assert_close(made.reflection.mean(), reflection.mean(), atol=0.01, rtol=0)


def test_linear_without_gains_and_extras_shows_one_photo_where_the_other_is_black() -> None:
    model = LinearMixing(
        background_gain=(1, 1), blur_share=0, ghost_share=0, region_share=0, reflection_gain=(1, 1), channel_gain=(1, 1)
    )
    photos, _ = layers(0)
    parameters = drawn(model, 0)
    black = torch.zeros_like(photos)
    torch.testing.assert_close(model(black, photos, parameters).mixture, photos)
    torch.testing.assert_close(model(photos, black, parameters).mixture, photos)


def test_linear_lengths_grow_with_the_photo() -> None:
    """A photo of four times as many pixels gives the same mixture at four times as many pixels."""
    model = LinearMixing(blur_share=1, ghost_share=1, sigma=(3, 4))
    x = torch.linspace(0, 6, 450)
    smooth = (x[:, None].sin() * x.cos() / 2 + 0.5).expand(2, 3, -1, -1)
    parameters = drawn(model, 1, 2)
    large = model(smooth, smooth.flip(2), parameters).mixture
    small = model(smooth[..., ::2, ::2], smooth.flip(2)[..., ::2, ::2], parameters).mixture
    torch.testing.assert_close(large[..., ::2, ::2], small, atol=0.01, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(224, 288), (600, 900), (40, 200)])
def test_the_vignette_is_brightest_at_most_1_and_falls_towards_its_masks_borders(height: int, width: int) -> None:
    place = torch.tensor([[0.5, 0.5], [0.0, 0.0], [1.0, 0.5]])
    middle, corner, right = vignette(place, height, width)[:, 0]
    assert middle.max().item() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(middle, middle.flip(0, 1))
    assert corner[0, 0].item() == pytest.approx(math.exp(-9 / 2), abs=0.002)
    assert corner[-1, -1] > corner[0, 0]
    assert (right.diff(dim=1) < 0).all() or width > 1.25 * height
    assert all(window.min() > 0 and window.max() <= 1 for window in (middle, corner, right))


def test_the_vignette_of_a_large_photo_is_that_of_a_small_one() -> None:
    place = torch.tensor([[0.3, 0.8]])
    small, large = vignette(place, 200, 300), vignette(place, 1000, 1500)
    torch.testing.assert_close(large[..., 2::5, 2::5], small)


def test_screened_mixtures_alone_have_no_formation() -> None:
    parameters = drawn(ScreenMixing(), 0, 12)
    made = ScreenMixing()(*layers(0, count=12), parameters)
    assert made.formation is not None
    assert 0 < parameters["screen"].sum() < 12
    assert torch.equal(made.formation.isnan().any(1), parameters["screen"] == 1)


def test_screened_white_on_white_is_white_and_does_not_lower() -> None:
    model = ScreenMixing(alpha=(1, 1), beta=(1, 1), screen_share=1)
    made = model(*layers(0, "white"), drawn(model, 0))
    torch.testing.assert_close(made.mixture, torch.ones_like(made.mixture))
    torch.testing.assert_close(made.reflection, torch.ones_like(made.mixture))


def test_a_ghost_is_as_far_as_the_panes_geometry_says() -> None:
    """5 mm of glass at 40 degrees: inside at asin(sin 40 / 1.474), there and back, seen across the outgoing ray."""
    inside = math.asin(math.sin(math.radians(40)) / 1.474)
    expected = 2 * 5 * math.tan(inside) * math.cos(math.radians(40))
    model = GhostingMixing(thickness=(5, 5), angle=(40, 40), pixels_per_mm=2)
    shifts = drawn(model, 0, 200)["shift"]
    torch.testing.assert_close(shifts.norm(dim=1), torch.full((200,), 2 * expected))
    angles = torch.atan2(shifts[:, 1], shifts[:, 0])
    assert angles.min() < -3 and angles.max() > 3 and angles.mean().abs() < 0.3


def test_a_ghost_lies_to_the_right_and_down_for_positive_shifts() -> None:
    reflection = torch.zeros(1, 3, 224, 224)
    reflection[..., 100, 100] = 1
    one = torch.ones(1)
    parameters = {"alpha": one, "beta": 0.5 * one, "attenuation": 0.5 * one, "shift": torch.tensor([[7.0, 3.0]])}
    made = GhostingMixing()(torch.zeros_like(reflection), reflection, parameters)
    assert made.mixture[0, 0, 100, 100] == 0.5
    assert made.mixture[0, 0, 103, 107].item() == pytest.approx(0.25, abs=1e-4)
    assert made.mixture.sum().item() == pytest.approx(3 * 0.75, abs=1e-3)


def test_reflectance_of_glass() -> None:
    """Straight: r = ((n - 1) / (n + 1))^2; at Brewster's angle no parallel light; grazing: all of it."""
    n = 1.5
    straight, brewster, grazing = reflectance(torch.tensor([0.0, math.atan(n), math.pi / 2]), n)
    assert straight.item() == pytest.approx(2 * 0.04 / 1.04, abs=1e-6)
    across = ((n**2 - 1) / (n**2 + 1)) ** 2
    assert brewster.item() == pytest.approx(across / (1 + across), abs=1e-6)
    assert grazing.item() == pytest.approx(1, abs=1e-5)
    assert (reflectance(torch.linspace(0, math.pi / 2, 90), n).diff() > -1e-6).all()


def test_the_angle_runs_across_the_image_in_its_direction() -> None:
    ends = torch.tensor([[10.0, 70.0]]).expand(3, 2)
    right, down, back = ramp(ends, torch.tensor([0, math.pi / 2, math.pi]), 5, 7)[:, 0]
    torch.testing.assert_close(right, torch.linspace(10, 70, 7).expand(5, 7))
    torch.testing.assert_close(down, torch.linspace(10, 70, 5)[:, None].expand(5, 7))
    torch.testing.assert_close(back, right.flip(1))


def test_transfer_takes_the_reflection_of_a_pair() -> None:
    model = TransferMixing()
    assert model.uses_pair(model.draw(np.random.default_rng(0))) is True
    assert model.needs_pairs is True


RANGES: list[tuple[Mixing, dict[str, tuple[float, float]]]] = [
    (PaperMixing(), {"alpha": (0.8, 1.0), "beta": (0.1, 0.5)}),
    (PaperMixing([0.5, 0.5], [0, 1]), {"alpha": (0.5, 0.5), "beta": (0.0, 1.0)}),
    (CEILNetMixing(), {"sigma": (2.0, 5.0)}),
    (GammaMixing(), {"sigma": (1, 5), "lowering": (1.08, 1.18), "background_gain": (0.8, 1), "vignette": (0, 1)}),
    (ScreenMixing(), {"sigma": (2, 5), "kernel": (5, 11), "alpha": (0.8, 1), "beta": (0.4, 1), "screen": (0, 1)}),
    (GhostingMixing(), {"alpha": (0.8, 1), "beta": (0.1, 0.4), "attenuation": (0.5, 1), "shift": (-7.9, 7.9)}),
    (FresnelMixing(), {"angle": (10, 70), "direction": (0, 2 * math.pi)}),
    (TransferMixing(), {"gamma": (1.8, 2.6), "scale": (0.5, 1.5)}),
    (
        LinearMixing(),
        {
            "gamma": (1.8, 2.6),
            "background_gain": (0.7, 1),
            "blur": (0, 1),
            "sigma": (0.5, 4),
            "ghost": (0, 1),
            "ghost_weight": (0.2, 0.7),
            "ghost_shift": (-8, 8),
            "reflection_gain": (0.08, 0.9),
            "channel_gain": (0.8, 1.2),
            "region": (0, 1),
            "region_field": (-6, 6),
            "region_level": (-0.8, 0.5),
            "region_steepness": (2, 10),
        },
    ),
]
NOT_UNIFORM = {"kernel", "screen", "blur", "ghost", "region", "region_field", "shift"}


@pytest.mark.parametrize(("model", "ranges"), RANGES)
def test_draws_fill_their_ranges(model: Mixing, ranges: dict[str, tuple[float, float]]) -> None:
    values = drawn(model, 0, 2000)
    assert list(values) == list(ranges)
    for name, (low, high) in ranges.items():
        assert values[name].min() >= low - 1e-6, name
        assert values[name].max() <= high + 1e-6, name
        if name not in NOT_UNIFORM:
            assert values[name].mean().item() == pytest.approx((low + high) / 2, abs=0.03 * (high - low) + 1e-6), name
            if low < high:
                assert values[name].min() < low + 0.02 * (high - low), name
                assert values[name].max() > high - 0.02 * (high - low), name


def test_shares_and_weights_are_those_asked_for() -> None:
    linear = drawn(LinearMixing(blur_share=0.25, ghost_share=0.5, region_share=0.75), 0, 4000)
    for name, share in (("blur", 0.25), ("ghost", 0.5), ("region", 0.75)):
        assert linear[name].mean() == pytest.approx(share, abs=0.03), name
    assert linear["region_field"].mean().item() == pytest.approx(0, abs=0.02)
    assert linear["region_field"].std().item() == pytest.approx(1, abs=0.02)
    screen = drawn(ScreenMixing(), 0, 4000)
    assert screen["screen"].mean().item() == pytest.approx(0.7, abs=0.03)
    for side, share in ((5, 0.1), (7, 0.2), (9, 0.3), (11, 0.4)):
        assert (screen["kernel"] == side).float().mean().item() == pytest.approx(share, abs=0.03), side


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (PaperMixing, {"reflection_target": "seen"}, r"mixing\.reflection_target='seen'"),
        (CEILNetMixing, {"kernel": 10}, r"mixing\.kernel=10"),
        (CEILNetMixing, {"lowering": -1}, r"mixing\.lowering=-1 would brighten"),
        (ScreenMixing, {"kernels": {4: 1}}, r"mixing\.kernels={4: 1}"),
        (ScreenMixing, {"kernels": {5: -1, 7: 2}}, r"mixing\.kernels={5: -1, 7: 2} does not give .* weights of 0"),
        (ScreenMixing, {"kernels": {5: 0}}, r"mixing\.kernels={5: 0} does not give .* not all 0"),
        (ScreenMixing, {"kernels": {}}, r"mixing\.kernels={}"),
        (ScreenMixing, {"kernels": {5: "often"}}, r"mixing\.kernels={5: 'often'} does not give"),
        (ScreenMixing, {"kernels": [5, 7]}, r"mixing\.kernels=\[5, 7\] does not give"),
    ],
)
def test_settings_of_one_model_alone(model: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model(**settings)
