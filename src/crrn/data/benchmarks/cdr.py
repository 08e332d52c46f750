"""CDR (Lei 2022): 1,063 triplets in categories."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

from crrn.data.benchmarks.case import Benchmark, make_benchmark
from crrn.data.benchmarks.pairs import existing, match, role_files
from crrn.errors import DataError

ROLES = {"m": "mixture", "t": "background", "r": "reflection"}
FORM = re.compile(r"(?P<scene>.+)_(?P<role>[MTR])(?P<crop>(?:[^A-Za-z].*)?)")
COLUMNS = ("type", "reflection", "ghost", "motion", "split")
SPLITS = {"0": "train", "1": "val", "2": "test"}


def cdr(root: Path | str, masks: Path | str | None = None, split: str | None = None) -> Benchmark:
    """CDR: CAMERA/ID_M*, ID_T*, ID_R* below the root, or the same names in folders M, T and R, as its converter
    writes them.

    An ``annotation.csv`` below the root (CAMERA/ID, type, reflection, ghost, motion, split) gives the categories.

    Args:
        split: train, val or test; null for all 1,063.

    Raises:
        DataError: no folder or no triplets in it; a split is asked for and no annotation is there.
    """
    base = existing(root, "cdr")
    annotations = _annotations(base)
    if split is not None and not annotations:
        raise DataError(
            f"cdr: split={split} needs annotation.csv below {base}; copy it there or set benchmark.cdr.split=null."
        )
    by_key: dict[str, dict[str, list[Path]]] = {}
    for (folder, key), layers in role_files(base, FORM, ROLES).items():
        place = folder.name if folder.name not in ("M", "T", "R") else ""
        for role, paths in layers.items():
            by_key.setdefault("/".join(filter(None, (place, key))), {}).setdefault(role, []).extend(paths)
    cases, problems = [], []
    for name, layers in by_key.items():
        scene, categories = next((found for found in annotations.items() if _belongs(name, found[0])), ("", {}))
        if split is None or categories.get("split") == split:
            part, wrong = match(
                {role: {name: layers[role]} if role in layers else {} for role in ROLES.values()}, "cdr", "", categories
            )
            cases += [replace(case, scene=scene) for case in part]
            problems += wrong
    published = {"cdr": (1063,)} if split is None else {}
    return make_benchmark("cdr", cases, problems, published, masks, f"*_M*, *_T* and *_R* below {base}")


def _annotations(base: Path) -> dict[str, dict[str, str]]:
    for path in sorted(base.rglob("annotation*.csv")):
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))[1:]
        return {
            row[0].strip(): {key: value.strip() for key, value in zip(COLUMNS, row[1:], strict=False)}
            | {"split": SPLITS.get(row[-1].strip(), row[-1].strip())}
            for row in rows
            if len(row) > 1
        }
    return {}


def _belongs(name: str, scene: str) -> bool:
    """C1/5532 of the annotation is C1/5532-_0 or, in a converted tree, C1_5532-_0."""
    rest = name.replace("/", "_").removeprefix(scene.replace("/", "_"))
    return len(rest) < len(name) and not rest[:1].isdigit()
