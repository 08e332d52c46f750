"""OpenRR-1k and OpenRR-5k (2025), and RRW (Zhu 2024): large sets of real pairs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crrn.data.benchmarks.case import Benchmark, make_benchmark
from crrn.data.benchmarks.pairs import existing, listing, match, pair_folders, place_of
from crrn.errors import DataError

RRW_PAIRS = 14952


def openrr(root: Path | str, split: str = "val_300", masks: Path | str | None = None) -> Benchmark:
    """A split of OpenRR: SPLIT_blended with SPLIT_transmission, or a folder SPLIT with a pair of folders in it, at the
    root or in one place below it.

    The number at the end of the split's name is the count that it should have. A split with SPLIT_blended alone
    (test_100) has no ground truth.

    Raises:
        DataError: no folder, or no such split in it.
    """
    base = place_of(
        existing(root, "openrr"),
        lambda place: (place / f"{split}_blended").is_dir() or (place / split).is_dir(),
        "openrr",
    )
    if (base / f"{split}_blended").is_dir():
        roles = {"mixture": f"{split}_blended", "background": f"{split}_transmission"}
        folder = base
        roles = {role: name for role, name in roles.items() if (folder / name).is_dir()}
    elif (base / split).is_dir() and (found := pair_folders(base / split)):
        folder, roles = found[0]
    else:
        raise DataError(
            f"openrr: neither {split}_blended nor a folder {split} with pairs in {base}; set benchmark.openrr.split."
        )
    cases, problems = match({role: listing(folder, name) for role, name in roles.items()}, split)
    count = re.search(r"_(\d+)$", split)
    published = {split: (int(count[1]),)} if count else {}
    return make_benchmark("openrr", cases, problems, published, masks, f"{split} below {base}")


def rrw(root: Path | str, masks: Path | str | None = None) -> Benchmark:
    """RRW: every pair of folders below the root; 14,952 pairs in all.

    Raises:
        DataError: no folder, or no known pair of folders in it.
    """
    base = existing(root, "rrw")
    cases, problems = [], []
    found = pair_folders(base)
    top = os.path.commonpath([folder for folder, _ in found]) if found else base  # folders around all change no name
    for folder, roles in found:
        prefix = "" if len(found) == 1 else f"{folder.relative_to(top).as_posix()}/"
        part, wrong = match({role: listing(folder, name) for role, name in roles.items()}, "rrw", prefix)
        cases += part
        problems += wrong
    return make_benchmark(
        "rrw", cases, problems, {"rrw": (RRW_PAIRS,)}, masks, f"blended/ with transmission_layer/ below {base}"
    )
