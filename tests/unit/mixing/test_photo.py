from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.mixing.draws import drawn, draws, layers, stacked
from torch import Tensor

from crrn.errors import ConfigError
from crrn.mixing import CEILNetMixing, LinearMixing, Mixture, PaperMixing, PhotoMixing, TransferMixing


class Marking:
    """A user's own model: a mixture of one value, and a record of the rows that it was given."""

    def __init__(self, value: float, formation: bool = False, known: bool = True, pair: bool | None = None) -> None:
        self.value = value
        self.formation = formation
        self.known = known
        self.seen: list[Tensor] = []
        if pair is not None:
            self.uses_pair = lambda parameters: pair and parameters["angle"] >= 0

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        return {"angle": rng.uniform(), "kind": int(rng.integers(5)), "colour": rng.random(3, dtype=np.float32)}

    def __call__(self, background: Tensor, reflection: Tensor, parameters: Mapping[str, Any]) -> Mixture:
        assert parameters.keys() == {"angle", "kind", "colour"}
        assert isinstance(parameters["kind"], np.ndarray) and parameters["kind"].dtype == np.int64
        assert len(parameters["angle"]) == len(parameters["kind"]) == len(parameters["colour"]) == len(background)
        self.seen.append(parameters["angle"])
        count = len(background)
        return Mixture(
            torch.full_like(background, self.value),
            background,
            reflection,
            None if self.known else torch.zeros(count, dtype=torch.bool),
            torch.full((count, 2), self.value) if self.formation else None,
        )


def test_each_row_is_formed_once_by_its_own_model() -> None:
    models = {"one": Marking(0.1), "two": Marking(0.2), "three": Marking(0.3)}
    mixing = PhotoMixing(models, {"one": 1, "two": 2, "three": 3})
    background, reflection = layers(0, count=16)
    parameters = drawn(mixing, 0, 16)
    made = mixing(background, reflection, parameters)
    assert set(parameters["model"]) == {0, 1, 2}
    for number, (name, model) in enumerate(models.items()):
        rows = parameters["model"] == number
        assert torch.equal(made.mixture[rows], torch.full_like(made.mixture[rows], model.value))
        (seen,) = model.seen
        assert torch.equal(seen, parameters[f"{name}.angle"][rows])
    assert torch.equal(made.background, background)
    assert torch.equal(made.reflection, reflection)
    assert made.reflection_known is None
    assert made.formation is None


def test_rows_equal_those_of_the_models_themselves() -> None:
    models = {"linear": LinearMixing(), "ceilnet": CEILNetMixing(), "paper": PaperMixing()}
    mixing = PhotoMixing(models, dict.fromkeys(models, 1.0))
    background, reflection = layers(1, count=12)
    parameters = drawn(mixing, 3, 12)
    made = mixing(background, reflection, parameters)
    assert made.formation is not None
    for number, (name, model) in enumerate(models.items()):
        rows = torch.from_numpy(parameters["model"] == number)
        assert rows.any()
        own = {key.removeprefix(f"{name}."): value[rows] for key, value in parameters.items() if key.startswith(name)}
        alone = model(background[rows], reflection[rows], own)
        for a, b in zip(made[:3], alone[:3], strict=True):
            torch.testing.assert_close(a[rows], b)
        if alone.formation is None:
            assert made.formation[rows].isnan().all()
        else:
            torch.testing.assert_close(made.formation[rows], alone.formation)


def test_what_only_some_models_tell_is_filled_in_for_the_others() -> None:
    mixing = PhotoMixing({"one": Marking(0.1), "two": Marking(0.2, True, False)}, {"one": 1, "two": 1})
    parameters = drawn(mixing, 0, 8)
    made = mixing(*layers(0, count=8), parameters)
    two = torch.from_numpy(parameters["model"] == 1)
    assert two.any() and not two.all()
    assert made.reflection_known is not None and made.reflection_known.dtype == torch.bool
    assert torch.equal(made.reflection_known, ~two)
    assert made.formation is not None
    assert torch.equal(made.formation[two], torch.full_like(made.formation[two], 0.2))
    assert made.formation[~two].isnan().all()


@pytest.mark.parametrize("kind", [torch.int64, torch.float32])
def test_the_choice_may_be_a_tensor(kind: torch.dtype) -> None:
    mixing = PhotoMixing({"paper": PaperMixing(), "linear": LinearMixing()}, {"paper": 1, "linear": 1})
    parameters = drawn(mixing, 0, 8)
    as_tensor = parameters | {"model": torch.from_numpy(parameters["model"]).to(kind)}
    expected = mixing(*layers(0, count=8), parameters)
    assert torch.equal(mixing(*layers(0, count=8), as_tensor).mixture, expected.mixture)


def test_weights_are_shares_in_any_unit_and_zero_is_never() -> None:
    models = {name: Marking(0.1) for name in "abcde"}
    mixing = PhotoMixing(models, {"e": 0, "a": 0, "b": 30, "c": 0.0, "d": 10})
    chosen = np.array([one["model"] for one in draws(mixing, 0, 4000)])
    counts = np.bincount(chosen, minlength=5)
    assert list(counts[[0, 2, 4]]) == [0, 0, 0]
    assert counts[1] / 4000 == pytest.approx(0.75, abs=0.03)

    class Extreme(np.random.Generator):
        value = 0.0

        def random(self, *args: Any, **kwargs: Any) -> Any:
            return self.value if not args else super().random(*args, **kwargs)

    for value, model in ((0.0, 1), (np.nextafter(1, 0), 3)):
        Extreme.value = value
        assert mixing.draw(Extreme(np.random.PCG64(0)))["model"] == model


def test_a_choice_of_one_is_that_model() -> None:
    mixing = PhotoMixing({"paper": PaperMixing(), "linear": LinearMixing()}, {"paper": 0, "linear": 3})
    parameters = drawn(mixing, 0)
    own = {name.removeprefix("linear."): value for name, value in parameters.items() if name.startswith("linear.")}
    expected = LinearMixing()(*layers(0), own)
    assert torch.equal(mixing(*layers(0), parameters).mixture, expected.mixture)


def test_uses_pair_is_the_chosen_models() -> None:
    mixing = PhotoMixing(
        {"silent": Marking(0.1), "never": Marking(0.1, pair=False), "always": Marking(0.1, pair=True)},
        {"silent": 1, "never": 1, "always": 1},
    )
    for one in draws(mixing, 0, 20):
        assert mixing.uses_pair(one) is (one["model"] == 2)


def test_pairs_are_needed_where_a_model_that_needs_them_has_a_weight() -> None:
    models = {"linear": LinearMixing(), "transfer": TransferMixing()}
    assert PhotoMixing(models, {"linear": 1, "transfer": 0.1}).needs_pairs is True
    without = PhotoMixing(models, {"linear": 1, "transfer": 0})
    assert without.needs_pairs is False
    assert PhotoMixing({"inner": without}, {"inner": 1}).needs_pairs is False
    assert not any(without.uses_pair(one) for one in draws(without, 0, 20))


def test_a_choice_of_choices_is_a_model_too() -> None:
    inner = PhotoMixing({"paper": PaperMixing(), "ceilnet": CEILNetMixing()}, {"paper": 1, "ceilnet": 1})
    outer = PhotoMixing({"old": inner, "linear": LinearMixing()}, {"old": 3, "linear": 1})
    parameters = drawn(outer, 0, 12)
    made = outer(*layers(0, count=12), parameters)
    assert parameters["old.model"].dtype == np.int64
    assert made.mixture.isfinite().all()


PAPER = {"paper": PaperMixing()}


@pytest.mark.parametrize(
    ("models", "weights", "message"),
    [
        ({}, {}, r"mixing\.models"),
        ({"mine": {"sigma": 2}}, {"mine": 1}, r"mixing\.models\.mine="),
        ({"my.own": PaperMixing()}, {"my.own": 1}, r"the name 'my\.own' has a dot"),
        (PAPER, {}, r"mixing\.models\.paper\b.*mixing\.weights\.paper"),
        (PAPER, {"paper": 1, "pager": 1}, r"mixing\.weights\.pager\b.*\bpaper"),
        (PAPER, {"paper": -1}, r"mixing\.weights\.paper=-1"),
        (PAPER, {"paper": float("nan")}, r"mixing\.weights\.paper=nan"),
        (PAPER, {"paper": float("inf")}, r"mixing\.weights\.paper=inf"),
        (PAPER, {"paper": "much"}, r"mixing\.weights\.paper=much"),
        (PAPER, {"paper": 0}, r"mixing\.weights"),
    ],
)
def test_bad_settings(models: Any, weights: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PhotoMixing(models, weights)


def test_stacked_draws_have_an_int_array_for_the_choice() -> None:
    parameters = stacked(draws(PhotoMixing(PAPER, {"paper": 2}), 0, 4))
    assert parameters["model"].dtype == np.int64 and set(parameters) == {"model", "paper.alpha", "paper.beta"}
