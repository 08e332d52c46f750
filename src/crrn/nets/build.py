"""From a record to a network: what a file names is data, and only a network's class is ever called."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn

from crrn.errors import ConfigError, CrrnError
from crrn.nets.record import TARGET, check_plain, set_record
from crrn.plugins import is_allowed, is_name

OWN = "crrn.nets"
"""The package of crrn's own networks: a file names no other module of crrn."""


def build_network(record: Mapping[str, Any], plugins: Collection[str] = (), meta: bool = False) -> nn.Module:
    """Build a network from its record.

    Args:
        record: {"_target_": name of its class, SETTING: plain value, ...}.
        plugins: packages that the record may name, beside crrn, installed plug-ins and those of `crrn.plugins.allow`.
        meta: without memory for the weights, where the class says that it can be built so.

    Returns:
        The network in training mode. `crrn.nets.record_of` gives its record.

    Raises:
        ConfigError: the class may not or cannot be imported, is not a network, or refuses its settings.
    """
    settings = {name: value for name, value in record.items() if name != TARGET}
    cls = network_class(record.get(TARGET), plugins)
    check_plain(settings)
    place = torch.device("meta") if meta and getattr(cls, "builds_on_meta", False) else contextlib.nullcontext()
    try:
        with place:
            network = cls(**settings)
    except CrrnError:
        raise
    except Exception as error:  # of many kinds, also inside other people's code
        raise ConfigError(f"{record[TARGET]} cannot be built with {settings}: {error!r}") from error
    set_record(network, cls, settings)
    return network


def network_class(target: object, plugins: Collection[str] = ()) -> type[nn.Module]:
    """The class that a record names.

    A module is imported only if its package is allowed. The name must be that of a subclass of `nn.Module` that is
    defined there. A path through a module to something that it imports is rejected.

    Args:
        target: "package.module.Class".
        plugins: as of `build_network`.

    Raises:
        ConfigError: it is not such a class, or may not be imported.
    """
    if not isinstance(target, str) or not is_name(target) or "." not in target:
        raise ConfigError(f"{TARGET}={target!r} does not name a network: give the full name of its class, {OWN}.CRRN")
    module, _, name = target.rpartition(".")
    package = target.partition(".")[0]
    if package == "crrn" and not f"{module}.".startswith(f"{OWN}."):
        raise ConfigError(f"{target} is not a network of crrn: its networks are {', '.join(own_networks())}")
    if not is_allowed(target, plugins):
        raise ConfigError(
            f"{target} is not of crrn, and other packages are imported only where you name them: give "
            f"plugins=[{package}] if you trust it"
        )
    try:
        found = getattr(import_module(module), name)
    except AttributeError as error:
        known = f", but {', '.join(own_networks())}" if module == OWN else ""
        raise ConfigError(f"{module} has no {name}{known}") from error
    except Exception as error:  # a module's own code can fail in any way
        raise ConfigError(f"{module}, which has the network {name}, cannot be imported: {error!r}") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError(f"{target} is not a network: it must be a class that extends torch.nn.Module")
    if (found.__module__, found.__qualname__) != (module, name):
        raise ConfigError(f"{target} is defined elsewhere: call it {found.__module__}.{found.__qualname__}")
    return found


def own_networks() -> list[str]:
    """The names of crrn's networks."""
    home = import_module(OWN)
    classes = {name: getattr(home, name) for name in home.__all__}
    return [f"{OWN}.{name}" for name, value in classes.items() if getattr(value, "__module__", "") == OWN]
