"""Removers by name and options."""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from torch import nn

import crrn
from crrn import plugins
from crrn.errors import ConfigError
from crrn.evaluation.methods import methods
from crrn.nets import Prediction
from crrn.plugins import REMOVERS
from crrn.removers import is_untrained, load_remover, remover_digest, remover_label, remover_prediction
from crrn.solvers import SOLVERS, WS16, YL19


@pytest.mark.parametrize("name", SOLVERS)
def test_every_constant_is_an_option(name):
    constants = SOLVERS[name]().config
    assert constants.keys() == inspect.signature(SOLVERS[name]).parameters.keys() - {"progress"}
    plain = {option: list(value) if isinstance(value, tuple) else value for option, value in constants.items()}
    assert load_remover({"name": name, **plain}).config == constants


def test_options_reach_the_solver_and_its_label():
    name = {"name": "ws16", "blurs": [3, 5], "published_weights": True}
    solver = load_remover(name)
    assert isinstance(solver, WS16) and solver.blurs == (3, 5) and solver.published_weights
    assert remover_label(name) == "ws16 blurs=[3, 5] published_weights=True"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lb15", "lb15"),
        ({"name": "lb14", "nonsense": 1}, "lb14 .*nonsense.*smoothness, threshold"),
        ({"name": "lb14", "progress": 1}, "lb14 .*progress"),
        ({"name": "identity", "threshold": 1}, "identity .*threshold"),
        ({"name": "yl19", "threshold": [1]}, r"threshold=\[1\]"),
        ({"name": "ws16", "blurs": 3}, "ws16 .*{'blurs': 3}"),
        ({"name": "runs/x", "threshold": 1}, "runs/x .*threshold"),
        ({"nam": "lb14"}, "has no name"),
        ({"name": "lb14", "_target_": "a.B"}, "has no name, or two"),
        (
            {"_target_": "nolab.removers.Inpaint"},
            r"nolab\.removers\.Inpaint cannot be imported \(No module",
        ),
        ({"_target_": f"{__name__}.Nothing"}, r"Nothing cannot be imported \(.*has no attribute 'Nothing'"),
        ({"_target_": f"{__name__}.Dimmed", "by": 1}, "Dimmed has no option by; it has factor"),
        ({"_target_": f"{__name__}.Dimmed", "factor": "x"}, "Dimmed cannot be made with {'factor': 'x'}"),
        ({"_target_": f"{__name__}.factor_of"}, "factor_of gives a float: a remover extends torch.nn.Module"),
    ],
)
def test_wrong_names_and_options_are_said_before_anything_is_evaluated(name, message):
    with pytest.raises(ConfigError, match=message):
        load_remover(name)
    with pytest.raises(ConfigError, match=message):
        methods(["yl19", name])


class Dimmed(nn.Module):
    """A method of one's own."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = float(factor)

    def forward(self, mixture):
        return self.factor * mixture


def factor_of() -> float:
    return 0.5


def test_a_class_of_ones_own_is_a_method():
    name = {"_target_": f"{__name__}.Dimmed", "factor": 0.25}
    assert load_remover(name).factor == 0.25 and is_untrained(name)
    assert remover_label(name) == "Dimmed factor=0.25"
    assert remover_prediction(name) == Prediction()
    assert len({remover_digest({**name, "factor": factor}) for factor in (0.25, 0.5)}) == 2
    row = methods([name], working_size=64, strength=50)[-1]
    assert row.label == "Dimmed factor=0.25" and row.prediction == Prediction()
    image = np.random.default_rng(0).random((20, 30, 3))
    np.testing.assert_allclose(crrn.remove(image, load_remover(name)), 0.25 * image, atol=1e-6)


@pytest.fixture
def installed(monkeypatch):
    """Packages that add removers."""
    entries = [
        EntryPoint("dimmed", f"{__name__}:Dimmed", REMOVERS),
        EntryPoint("lost", f"{__name__}:Lost", REMOVERS),
        EntryPoint("yl19", f"{__name__}:Dimmed", REMOVERS),
    ]
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: entries if group == REMOVERS else [])


@pytest.mark.usefixtures("installed")
def test_an_installed_method_has_a_name_everywhere():
    assert load_remover("dimmed").factor == 0.5 and load_remover({"name": "dimmed", "factor": 1}).factor == 1
    assert remover_label("dimmed") == "dimmed" and is_untrained("dimmed")
    assert "dimmed" in [one.name for one in crrn.models()] and [one.name for one in crrn.models()].count("yl19") == 1
    assert isinstance(load_remover("yl19"), YL19)
    np.testing.assert_allclose(crrn.remove(np.ones((8, 8, 3)), "dimmed"), 0.5)
    with pytest.raises(ConfigError, match="The remover lost of an installed package cannot be imported"):
        load_remover("lost")
    with pytest.raises(ConfigError, match=r"no remover 'dimed'.* Did you mean dimmed\?"):
        load_remover("dimed")
