"""Metrics of one's own in a protocol: what they must say of themselves, and what results keep of it.

A metric is an object, of any class:

- ``metric(estimate, target)`` compares images (N, 3, H, W) in [0, 1], float32, and returns a tensor (N,), NaN where an
  image has no value.
- ``name``: its column in results, of lower-case letters, digits and underscores.
- ``higher_is_better``: whether higher values are better.
- ``label``, ``unit``, ``digits``: how tables write it. Default: the name, no unit, 4 digits.

Results keep these facts as plain values, so that tables and reports need not import the class.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from crrn.errors import ConfigError, kind_of
from crrn.records import misfit

FACTS = {"class": str, "settings": dict, "label": str, "unit": str, "higher_is_better": bool, "digits": int}
"""What results keep of a metric of one's own. Its settings are the plain values among the object's attributes."""

MOST_DIGITS = 10

Own = Mapping[str, Mapping[str, Any]]
"""`FACTS` by the metric's name."""


def facts_of(metric: Any, setting: str, taken: Collection[str]) -> tuple[str, dict[str, Any]]:
    """The name and the `FACTS` of a metric.

    Args:
        metric: the object.
        setting: where it was given, for messages.
        taken: names of other metrics.

    Raises:
        ConfigError: it is no metric, its name is taken, or a fact is missing or wrong.
    """
    if isinstance(metric, type) or not callable(metric) or not hasattr(metric, "name"):
        raise ConfigError(
            f"{setting}: {metric!r} is not a metric; give a name, or your own as {{_target_: CLASS}}, a class with "
            "__call__, name and higher_is_better."
        )
    cls = type(metric)
    name, title = metric.name, f"{cls.__module__}.{cls.__qualname__}"
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in taken:
        raise ConfigError(
            f"{setting}: {title} has the name {name!r}, which is taken or has other signs than a-z, 0-9 and _."
        )
    if not isinstance(getattr(metric, "higher_is_better", None), bool):
        raise ConfigError(
            f"{setting}: {title} does not say which way is better: give it higher_is_better = True or False."
        )
    facts = {
        "class": title,
        "settings": {key: value for key, value in vars(metric).items() if key[0] != "_" and _is_plain(value)},
        "label": getattr(metric, "label", name),
        "unit": getattr(metric, "unit", ""),
        "higher_is_better": metric.higher_is_better,
        "digits": getattr(metric, "digits", 4),
    }
    if isinstance(metric, nn.Module):
        del facts["settings"]["training"]
    check_facts({name: facts}, setting)
    return name, facts


def check_facts(own: Any, setting: str) -> None:
    """Refuses what are no `FACTS` by name, perhaps of a file; ConfigError."""
    wrong = misfit(own, {str: FACTS}, setting)
    if wrong:
        raise ConfigError(f"A metric of one's own is not as it should be, as {wrong}.")
    for name, facts in own.items():
        if not 0 <= facts["digits"] <= MOST_DIGITS:
            raise ConfigError(f"{setting}.{name}.digits={facts['digits']}: give 0 to {MOST_DIGITS}.")


def measured(name: str, metric: Any, estimate: Tensor, target: Tensor) -> Tensor:
    """A metric's values (N,) of images (N, 3, H, W).

    Raises:
        ConfigError: it returns something else.
    """
    if isinstance(metric, nn.Module):
        metric.to(estimate.device)
    value = metric(estimate, target)
    if not isinstance(value, Tensor) or value.shape != (len(estimate),):
        raise ConfigError(f"The metric {name} returns {kind_of(value)}: give one number for each image, (N,).")
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(one) for one in value)
    return value is None or isinstance(value, bool | int | float | str)
