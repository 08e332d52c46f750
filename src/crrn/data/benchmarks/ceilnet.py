"""The test images of CEILNet (Fan 2017)."""

from __future__ import annotations

from pathlib import Path

from crrn.data.benchmarks.case import Benchmark, make_benchmark
from crrn.data.benchmarks.pairs import existing, listing, match, place_of

SYNTHETIC = (100, 23)
"""The whole table-2 set, and the part of it whose names begin with "smooth"."""


def ceilnet_synthetic(root: Path | str, masks: Path | str | None = None) -> Benchmark:
    """Synthetic triplets: ``*-input.png``, ``*-label1.png`` (background), ``*-label2.png`` (reflection).

    Raises:
        DataError: no folder, or no triplets in it.
    """
    base = place_of(
        existing(root, "ceilnet_synthetic"), lambda folder: any(folder.glob("*-label1.*")), "ceilnet_synthetic"
    )
    patterns = {"mixture": "*-input.*", "background": "*-label1.*", "reflection": "*-label2.*"}
    cases, problems = match({role: listing(base, pattern) for role, pattern in patterns.items()}, "synthetic")
    return make_benchmark(
        "ceilnet_synthetic", cases, problems, {"synthetic": SYNTHETIC}, masks, f"*-input.png and *-label1.png in {base}"
    )


def ceilnet_real(root: Path | str) -> Benchmark:
    """45 photos through glass, ``*-input.*``, without ground truth.

    Raises:
        DataError: no folder, or no photos in it.
    """
    base = place_of(
        existing(root, "ceilnet_real"),
        lambda folder: any(folder.glob("*-input.*")) and not any(folder.glob("*-label1.*")),
        "ceilnet_real",
    )
    cases, problems = match({"mixture": listing(base, "*-input.*")}, "real")
    return make_benchmark("ceilnet_real", cases, problems, {"real": (45,)}, looked_for=f"*-input.jpg in {base}")
