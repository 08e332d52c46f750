"""Which values of a table are best, and where none is to be marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crrn.evaluation.labels import lower_is_better, without_unit
from crrn.evaluation.store import WITHOUT_TRUTH


def best_cells(result: Mapping[str, Any], metrics: Sequence[str], first: int) -> set[tuple[int, int]]:
    """(row, column) of the best value of each metric, the first in column ``first``: none of a single remover, and none
    of a metric that the removers have of different images."""
    best: set[tuple[int, int]] = set()
    for x, metric in enumerate(metrics, start=first):
        if metric in WITHOUT_TRUTH or metric in result["differing"] or len(result["removers"]) < 2:
            continue
        means = [entry["metrics"].get(metric, {}).get("mean", math.nan) for entry in result["removers"].values()]
        known = [value for value in means if not math.isnan(value)]
        if known:
            top = min(known) if lower_is_better(metric, result["own"]) else max(known)
            best |= {(y, x) for y, value in enumerate(means) if value == top}
    return best


def unmarked(result: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    """What to say where no best value is marked."""
    found = [without_unit(metric, result["own"]) for metric in metrics if metric in result["differing"]]
    if not found:
        return []
    why = "the methods were measured on different images. Paired differences are on the images that both have"
    return [f"No best value of {', '.join(found)} is marked: {why}."]
