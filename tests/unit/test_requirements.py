"""The two lists of exact versions, and the bounds of pyproject.toml."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


def declared() -> dict[str, SpecifierSet]:
    """What pyproject.toml asks of each package that [demo,dev] installs: all but the extra mlflow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    del extras["mlflow"]
    asked: defaultdict[str, SpecifierSet] = defaultdict(SpecifierSet)
    for requirement in map(
        Requirement, (*project["dependencies"], *(line for lines in extras.values() for line in lines))
    ):
        asked[canonicalize_name(requirement.name)] &= requirement.specifier
    del asked["crrn"]
    return asked


def pinned(file: str) -> dict[str, Version]:
    """The versions that a file names for this Python and system."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    exact = [Requirement(line) for line in lines if not line.startswith("#")]
    return {
        canonicalize_name(one.name): Version(next(iter(one.specifier)).version)
        for one in exact
        if one.marker is None or one.marker.evaluate()
    }


@pytest.mark.parametrize("file", ["constraints.txt", ".ci/lowest.txt"])
def test_every_package_is_pinned_to_a_version_that_is_allowed(file: str) -> None:
    versions = pinned(file)
    assert [name for name, asked in declared().items() if name not in versions or versions[name] not in asked] == []


def test_the_lowest_versions_are_the_bounds() -> None:
    versions, higher = pinned(".ci/lowest.txt"), {}
    for name, asked in declared().items():
        bound = max(Version(one.version) for one in asked if one.operator in (">=", "=="))
        if versions[name].release[: len(bound.release)] != bound.release:
            higher[name] = f"{versions[name]} is above {bound}"
    assert not higher
