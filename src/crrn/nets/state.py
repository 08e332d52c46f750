"""Comparing the weights that a network has with those that a file gives."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def mismatches(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Names that only one side has, or whose shapes or kinds of numbers differ; empty when `given` can be loaded."""
    return [
        name
        for name in {**own, **given}
        if name not in own
        or name not in given
        or own[name].shape != given[name].shape
        or own[name].is_floating_point() != given[name].is_floating_point()
    ]
