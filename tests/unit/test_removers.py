"""Removers by name and options."""

from __future__ import annotations

import inspect

import pytest

from crrn.errors import ConfigError
from crrn.evaluation.methods import methods
from crrn.removers import load_remover, remover_label
from crrn.solvers import SOLVERS, WS16


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
    ],
)
def test_wrong_names_and_options_are_said_before_anything_is_evaluated(name, message):
    with pytest.raises(ConfigError, match=message):
        load_remover(name)
    with pytest.raises(ConfigError, match=message):
        methods(["yl19", name])
