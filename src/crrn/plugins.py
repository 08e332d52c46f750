"""Which packages a file may name: crrn, installed packages that announce themselves, and those that a user names.

A weights file is data from anywhere. It can name a class, and crrn then imports that class's module, which runs code.
So only these packages are imported. What a setting names is the user's own choice, and is imported as it is written.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib import import_module, invalidate_caches, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crrn.errors import ConfigError

GROUP = "crrn.plugins"
"""The group of entry points by which an installed package announces itself; an entry's value is the package's name."""

REMOVERS = "crrn.removers"
"""The group of entry points by which an installed package adds removers without training: a name, and its class."""

_named: set[str] = set()


def allow(packages: Collection[str]) -> None:
    """Let files that this process reads name classes of these packages; the setting `plugins` of the commands.

    A package that Python does not find is looked for in the current folder, and in the folder of its name there.

    Raises:
        ConfigError: it is not a list of packages that can be imported.
    """
    if isinstance(packages, str):
        raise ConfigError(f"plugins={packages} is not a list: give plugins=[{packages}].")
    for package in packages:
        if not is_name(package) or not (_is_there(package) or _is_near(package)):
            raise ConfigError(
                f"plugins=[{package}]: there is no package {package}; install it (pip install DIR), or add the folder "
                "that it lies in to PYTHONPATH."
            )
    _named.update(packages)


def is_allowed(name: str, plugins: Collection[str] = ()) -> bool:
    """Whether a file may name something in a module.

    Args:
        name: of the module or of something in it, such as "mylab.nets.TinyUNet".
        plugins: packages that are allowed beside those of `allow` and the installed ones.
    """
    if any(_within(name, package) for package in ("crrn", *_named, *plugins)):
        return True
    return any(_within(name, entry.module) for entry in metadata.entry_points(group=GROUP))


def installed_removers() -> dict[str, metadata.EntryPoint]:
    """The removers without training of installed packages, by name; nothing is imported."""
    return {entry.name: entry for entry in metadata.entry_points(group=REMOVERS)}


def named(setting: str, name: str, example: str) -> Any:
    """What a user's setting names, imported.

    Args:
        setting: where the name stands, for the message.
        name: "package.module.NAME".
        example: a name that the setting could have.

    Raises:
        ConfigError: nothing has this name, or its module cannot be imported.
    """
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:  # a module's own code can fail in any way
        raise ConfigError(
            f"{setting}={name} cannot be imported ({error}): give a full name, such as {example}."
        ) from error


def is_name(name: object) -> bool:
    """Whether it is a dotted name of Python."""
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _is_there(package: str) -> bool:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None  # any folder without __init__.py is a package without origin


def _is_near(package: str) -> bool:
    """Whether the package is in the current folder, or in a project's folder of the same name; makes it importable."""
    here = Path.cwd()
    for folder in (here / package, here):
        if (folder / package).is_dir() or (folder / f"{package}.py").is_file():
            sys.path.append(str(folder))
            invalidate_caches()
            return True
    return False
