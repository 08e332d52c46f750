"""``torch.hub`` in an environment with nothing but what hubconf.py says that it needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import hubconf
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from crrn.nets import save_network
from tests.integration.conftest import ROOT, inherited
from tests.networks import lively

LOADS = """
import sys

class OnlyThese:
    '''A finder that does not find what is refused.'''

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {refused!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(OnlyThese, sys.meta_path)
import torch

for network in (
    torch.hub.load({root!r}, "crrn", source="local", weights={weights!r}),
    torch.hub.load({root!r}, "crrn", source="local", width=0.05),
):
    mixture = torch.rand(1, 3, 32, 48)
    assert network(mixture).background.shape == mixture.shape
print("loaded")
"""


def with_what_they_need(distributions: Iterable[str]) -> set[str]:
    """Distributions, and those that they need to be installed, by their normalised names."""
    known: set[str] = set()
    todo = [canonicalize_name(name) for name in distributions]
    while todo:
        name = todo.pop()
        if name in known:
            continue
        known.add(name)
        try:
            needed = map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # of another system, or of none
            continue
        todo += [canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return known


@pytest.mark.slow
def test_the_declared_dependencies_are_enough(tmp_path: Path) -> None:
    homes = {module: set(map(canonicalize_name, names)) for module, names in packages_distributions().items()}
    allowed = with_what_they_need(home for module in hubconf.dependencies for home in homes[module])
    refused = {module for module, names in homes.items() if module != "crrn" and allowed.isdisjoint(names)}
    assert {"lightning", "hydra", "kornia"} <= refused
    save_network(lively("crrn"), tmp_path / "small.safetensors")
    script = LOADS.format(refused=refused, root=str(ROOT), weights=str(tmp_path / "small.safetensors"))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=inherited(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded"
