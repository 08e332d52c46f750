"""What holds for every formation model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.unit.mixing.draws import drawn, draws, layers

import crrn.mixing
from crrn.errors import ConfigError
from crrn.mixing import (
    CEILNetMixing,
    FresnelMixing,
    GammaMixing,
    GhostingMixing,
    LinearMixing,
    Mixing,
    Mixture,
    PaperMixing,
    PhotoMixing,
    ScreenMixing,
    TransferMixing,
)

MODELS: dict[str, Mixing] = {
    "paper": PaperMixing(),
    "paper, captured": PaperMixing(reflection_target="captured"),
    "paper, sum": PaperMixing((1, 1), (1, 1)),
    "ceilnet": CEILNetMixing(),
    "linear": LinearMixing(),
    "linear, all on": LinearMixing(blur_share=1, ghost_share=1, region_share=1),
    "linear, all off": LinearMixing(blur_share=0, ghost_share=0, region_share=0),
    "gamma": GammaMixing(),
    "screen": ScreenMixing(),
    "ghosting": GhostingMixing(),
    "fresnel": FresnelMixing(),
    "fresnel, from straight to grazing": FresnelMixing(angle=(0, 90)),
    "transfer": TransferMixing(),
}
MODELS["photo"] = PhotoMixing(dict(MODELS), dict.fromkeys(MODELS, 1))

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
        if isinstance(model, PaperMixing) and model.reflection_target == "captured":
            assert made.formation is None
            continue
        assert made.formation is not None
        assert made.formation.shape == (8, 2)
        assert made.formation.dtype == torch.float32
        assert torch.equal(*made.formation.isnan().unbind(1))
        known = ~made.formation.isnan().any(1)
        assert known.all() or isinstance(model, ScreenMixing | PhotoMixing)
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


CLASSES = {
    PaperMixing: "alpha beta",
    CEILNetMixing: "sigma",
    LinearMixing: "gamma background_gain sigma ghost_weight reflection_gain channel_gain region_level region_steepness",
    GammaMixing: "sigma lowering background_gain",
    ScreenMixing: "sigma alpha beta",
    GhostingMixing: "alpha beta attenuation thickness angle",
    FresnelMixing: "angle",
    TransferMixing: "gamma scale",
}
NUMBERS = {
    LinearMixing: "blur_share ghost_share ghost_shift region_share",
    GammaMixing: "gamma",
    ScreenMixing: "screen_share lowering",
    GhostingMixing: "index pixels_per_mm",
    FresnelMixing: "gamma index",
}


def settings(names: dict[Any, str]) -> Any:
    pairs = [(model, name) for model, all_names in names.items() for name in all_names.split()]
    return pytest.mark.parametrize(
        ("model", "name"), [pytest.param(*pair, id=f"{pair[0].__name__}-{pair[1]}") for pair in pairs]
    )


@settings(CLASSES)
@pytest.mark.parametrize(
    "bounds", [(2, 1), (1000, 2000), (-1000, 1), (1,), 1.5, "wide", None, ("a", "b"), (float("nan"), 1)]
)
def test_a_bad_range_is_named(model: Any, name: str, bounds: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^mixing\.{name}="):
        model(**{name: bounds})


@settings(NUMBERS)
@pytest.mark.parametrize("value", [-0.1, 1000, "half", None, float("nan")])
def test_a_bad_number_is_named(model: Any, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^mixing\.{name}="):
        model(**{name: value})


@settings(CLASSES)
def test_a_range_of_one_value_is_that_value(model: Any, name: str) -> None:
    """With every range at one value, two draws differ at most in where and whether something is."""
    low, _ = getattr(model(), name)
    made = draws(model(**{name: (low, low)}), 0, 20)
    if name in made[0]:
        for one in made:
            value = np.asarray(one[name])
            assert ((value == np.float32(low)) | (value == low)).all()


CONFIGS = Path(__file__).parents[3] / "conf" / "mixing"
ONE_MODEL = sorted(path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.startswith("photo"))


@pytest.mark.parametrize("name", ONE_MODEL)
def test_a_models_yaml_file_shows_all_its_settings_with_their_defaults(name: str) -> None:
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    package, _, kind = settings.pop("_target_").rpartition(".")
    assert package == "crrn.mixing"
    model = getattr(crrn.mixing, kind)
    defaults = {key: parameter.default for key, parameter in inspect.signature(model).parameters.items()}
    shown = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    assert shown == defaults
    assert any(isinstance(one, model) for one in MODELS.values()), "the list of all models above lacks it"


def test_photo_has_all_models_and_a_weight_for_each() -> None:
    settings = yaml.safe_load((CONFIGS / "photo.yaml").read_text())
    own = [part for part in settings["defaults"] if part != "_self_"]
    assert all(key == f"/mixing@models.{name}" for part in own for key, name in part.items())
    models = {name for part in own for name in part.values()}
    assert models == set(ONE_MODEL) == settings["weights"].keys()
    assert sum(settings["weights"].values()) == pytest.approx(1)
    assert settings["weights"]["transfer"] == 0  # it needs pairs
