"""Packages that only benchmarks need."""

from __future__ import annotations

from importlib.util import find_spec

from crrn.errors import ConfigError


def require(suite: str, *modules: str) -> None:
    """Sees to it that modules of the extra ``bench`` can be imported.

    Raises:
        ConfigError: one is not installed.
    """
    for module in modules:
        if find_spec(module) is None:
            raise ConfigError(
                f"The suite {suite} compares with {module}, which is not installed: pip install 'crrn[bench]', or "
                "leave the suite out with suite=[NAME,...]."
            )
