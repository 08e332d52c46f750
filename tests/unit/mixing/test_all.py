"""What holds for every formation model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.mixing.draws import drawn, draws, layers

from crrn.mixing import CEILNetMixing, LinearMixing, Mixing, Mixture, PaperMixing, PhotoMixing

MODELS: dict[str, Mixing] = {
    "paper": PaperMixing(),
    "paper, captured": PaperMixing(reflection_target="captured"),
    "paper, sum": PaperMixing((1, 1), (1, 1)),
    "ceilnet": CEILNetMixing(),
    "linear": LinearMixing(),
    "linear, all on": LinearMixing(blur_share=1, ghost_share=1, region_share=1),
    "linear, all off": LinearMixing(blur_share=0, ghost_share=0, region_share=0),
}
MODELS["photo"] = PhotoMixing(
    {"linear": LinearMixing(), "ceilnet": CEILNetMixing(), "paper": PaperMixing()},
    {"linear": 1, "ceilnet": 1, "paper": 1},
)

every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def part(parameters: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    return {name: value[rows] for name, value in parameters.items()}


def equal(first: Mixture, second: Mixture) -> bool:
    return all(
        (a is None and b is None) or (a is not None and b is not None and torch.equal(a.nan_to_num(9), b.nan_to_num(9)))
        for a, b in zip(first, second, strict=True)
    )


@every_model
@pytest.mark.parametrize("kind", ["noise", "white", "black", "binary", "dark"])
def test_layers_in_the_unit_range_give_float32_layers_in_it(model: Mixing, kind: str) -> None:
    for seed in range(5):
        made = model(*layers(seed, kind), drawn(model, seed))
        assert isinstance(made, Mixture)
        for layer in made[:3]:
            assert layer.shape == (3, 3, 24, 20)
            assert layer.dtype == torch.float32
            assert layer.isfinite().all()
            assert layer.min() >= 0
            assert layer.max() <= 1
        assert made.reflection_known is None


@every_model
def test_a_batch_equals_its_mixtures_one_by_one(model: Mixing) -> None:
    background, reflection = layers(0, count=8)
    parameters = drawn(model, 0, 8)
    together = model(background, reflection, parameters)
    for i in range(8):
        row = slice(i, i + 1)
        alone = model(background[row], reflection[row], part(parameters, row))
        for a, b in zip(together[:3], alone[:3], strict=True):
            torch.testing.assert_close(a[row], b, atol=2e-6, rtol=0)
        if alone.formation is None:
            assert together.formation is None or together.formation[row].isnan().all()
        else:
            assert together.formation is not None
            torch.testing.assert_close(together.formation[row], alone.formation, equal_nan=True)


@every_model
def test_inputs_stay_and_the_same_inputs_give_the_same_mixture(model: Mixing) -> None:
    background, reflection = layers(1, count=6)
    parameters = drawn(model, 1, 6)
    copies = background.clone(), reflection.clone(), drawn(model, 1, 6)
    first = model(background, reflection, parameters)
    assert equal(first, model(background, reflection, parameters))
    assert torch.equal(background, copies[0])
    assert torch.equal(reflection, copies[1])
    assert parameters.keys() == copies[2].keys()
    for name, value in parameters.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(copies[2][name]), err_msg=name)


@every_model
def test_a_draw_comes_from_the_generator_alone_and_has_fixed_names_types_and_shapes(model: Mixing) -> None:
    first, again = draws(model, 5, 50), draws(model, 5, 50)
    for one, other in zip(first, again, strict=True):
        assert one.keys() == other.keys() == first[0].keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)
            assert type(value) is type(first[0][name])
            assert type(value) in (int, float) or (isinstance(value, np.ndarray) and value.dtype == np.float32)
            assert np.shape(value) == np.shape(first[0][name])


@every_model
def test_formation_explains_the_mixture_by_its_targets(model: Mixing) -> None:
    for seed in range(5):
        made = model(*layers(seed, count=8), drawn(model, seed, 8))
        if made.formation is None:
            continue
        assert made.formation.shape == (8, 2)
        assert made.formation.dtype == torch.float32
        known = ~made.formation.isnan().any(1)
        gamma, gain = (value[known].double().view(-1, 1, 1, 1) for value in made.formation.unbind(1))
        b, r = made.background[known].double(), made.reflection[known].double()
        explained = ((gain * b).pow(gamma) + r.pow(gamma)).pow(1 / gamma).clamp(max=1)
        torch.testing.assert_close(made.mixture[known].double(), explained, atol=2e-6, rtol=0)


@every_model
def test_any_size_of_photo_is_mixed(model: Mixing) -> None:
    for height, width in ((11, 11), (96, 160), (700, 40)):
        made = model(*layers(0, "noise", 2, height, width), drawn(model, 0, 2))
        for layer in made[:3]:
            assert layer.shape == (2, 3, height, width)
            assert layer.isfinite().all()
