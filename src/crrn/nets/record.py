"""A network's record: its class and settings as plain values, from which it can be built again.

``{"_target_": "crrn.nets.CRRN", "width": 0.25, ...}`` stands in the config, in ``run.json``, in checkpoints and in the
headers of weights files.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from crrn.errors import ConfigError

TARGET = "_target_"

NEVER_MATTERED = ("architecture", TARGET, "encoder_weights", "channels_last", "compile")
"""Settings beside the network's own in configs of before."""

OLD = {
    "crrn": "CRRN",
    "iin": "IiN",
    "gin": "GiN",
    "ceilnet": "CEILNet",
    "ceilnet_edges": "EdgeNet",
    "ceilnet_image": "ImageNet",
}
"""The classes of the networks that files of before call {"architecture": NAME, "width": ...}."""


def record_of(network: nn.Module) -> dict[str, Any]:
    """The record of a network.

    Raises:
        ConfigError: it does not have one.
    """
    record = find_record(network)
    if record is None:
        name = type(network).__name__
        raise ConfigError(
            f"This {name} does not know its settings: build it by crrn.build_network({{'{TARGET}': "
            f"'{class_name(type(network))}', ...}}), from which a file can rebuild it."
        )
    return record


def find_record(network: nn.Module) -> dict[str, Any] | None:
    """The record of a network, None where it has none."""
    record: dict[str, Any] | None = vars(network).get("crrn_record")
    return record


def set_record(network: nn.Module, cls: type[nn.Module], settings: Mapping[str, Any]) -> None:
    """Give a network its record, unless it has one or is of another class: a subclass has settings of its own.

    Args:
        network: the network.
        cls: its class.
        settings: the arguments of the class. Those that are left out are its defaults.

    Raises:
        ConfigError: a setting is not a plain value.
    """
    if type(network) is not cls or find_record(network) is not None:
        return
    check_plain(settings)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is not parameter.empty and is_plain(parameter.default)
    }
    # As a file gives it back, where tuples are lists.
    record = json.loads(json.dumps({**defaults, **settings}))
    vars(network)["crrn_record"] = {TARGET: class_name(cls), **record}


def class_name(cls: type) -> str:
    """The name by which a record calls a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def check_plain(settings: Mapping[str, Any]) -> None:
    """Refuses settings that a file cannot hold or that would build something else; ConfigError."""
    for name, value in settings.items():
        if not isinstance(name, str) or name.startswith("_") or not is_plain(value):
            raise ConfigError(
                f"net.{name}={value!r} cannot stand in a network's record: its settings are numbers, texts, true, "
                f"false, null, and lists and tables of them, without {TARGET}."
            )


def is_plain(value: Any, depth: int = 8) -> bool:
    """Whether it is a finite number, a text, a truth value, None, or a list or table of such."""
    if value is None or isinstance(value, bool | int | str):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    if depth and isinstance(value, list | tuple):
        return all(is_plain(inner, depth - 1) for inner in value)
    if depth and isinstance(value, Mapping):
        return all(
            isinstance(key, str) and not key.startswith("_") and is_plain(inner, depth - 1)
            for key, inner in value.items()
        )
    return False


def upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as this version writes it, from any that a version wrote into a file or a config."""
    architecture = record.get("architecture")
    if not (isinstance(architecture, str) and architecture in OLD):
        return dict(record)
    settings = {name: value for name, value in record.items() if name not in NEVER_MATTERED and value is not None}
    if architecture in ("crrn", "gin"):
        settings = {"head": "sigmoid", **settings}
    if architecture in ("crrn", "iin"):
        settings = {"encoder_width": record.get("width", 1.0), **settings}
    if architecture == "iin":
        settings["gradient_features"] = False
    return {TARGET: f"crrn.nets.{OLD[architecture]}", **settings}


def describe(record: Mapping[str, Any] | None) -> str:
    """A record, of any version, as a person reads it: ``CRRN (width 0.25, head additive)``."""
    if record is None:
        return "a network without a record"
    record = upgraded(record)
    settings = ", ".join(f"{name} {value}" for name, value in record.items() if name != TARGET)
    return str(record.get(TARGET)).rpartition(".")[2] + (f" ({settings})" if settings else "")
