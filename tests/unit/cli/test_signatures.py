import inspect
from importlib import import_module

import pytest
import yaml

from crrn.cli.config import config_folder, nodes_with_target
from crrn.cli.signatures import parameters_in_source

TARGETS = sorted(
    {
        node["_target_"]
        for path in config_folder().rglob("*.yaml")
        for _, node in nodes_with_target(yaml.safe_load(path.read_text()), path.stem)
    }
    - {"crrn.cli.sweeps.SweepCallback"}  # has no constructor of its own
)


@pytest.mark.parametrize("target", TARGETS)
def test_the_source_tells_what_the_signature_does(target: str):
    module, _, name = target.rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), name)).parameters.values()
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    assert parameters_in_source(target) == (None if anything else [parameter.name for parameter in parameters])


@pytest.mark.parametrize("target", ["crrn.nothing", "crrn.nowhere.Name", "nowhere.Name", "Name", "dict"])
def test_what_the_source_does_not_tell_is_left_open(target: str):
    assert parameters_in_source(target) is None
