"""Real20, the test photos of Zhang et al. (2018), and Nature20, those of IBCLN (2020)."""

from __future__ import annotations

from pathlib import Path

from crrn.data.benchmarks.case import Benchmark, make_benchmark
from crrn.data.benchmarks.pairs import existing, listing, match, pair_folders
from crrn.errors import DataError

REAL20 = frozenset(map(str, (3, 4, 9, 12, 15, 22, 23, 25, 29, 39, 46, 47, 58, 86, 87, 89, 93, 103, 107, 110)))
"""The test photos' numbers; the other 89 of the 109 pairs train."""


def real20(root: Path | str, masks: Path | str | None = None) -> Benchmark:
    """Real20: {blended,transmission_layer}/ID, at the root or below it; of a folder with all 109 pairs, the 20 of the
    test.

    Raises:
        DataError: no folder, or no such pairs in it.
    """
    base = existing(root, "real20")
    folder, roles = _only(base, "real20", "blended/ and transmission_layer/")
    listings = {
        role: {key: paths for key, paths in listing(folder, name).items() if key in REAL20}
        for role, name in roles.items()
    }
    cases, problems = match(listings, "real20")
    return make_benchmark(
        "real20", cases, problems, {"real20": (20,)}, masks, f"the pairs {', '.join(sorted(REAL20, key=int))}"
    )


def nature20(root: Path | str, masks: Path | str | None = None) -> Benchmark:
    """Nature20: testB holds the mixtures, testA1 the backgrounds, at the root or below it.

    Raises:
        DataError: no folder, or no such pairs in it.
    """
    base = existing(root, "nature20")
    folder, roles = _only(base, "nature20", "testB/ and testA1/")
    cases, problems = match({role: listing(folder, name) for role, name in roles.items()}, "nature20")
    return make_benchmark("nature20", cases, problems, {"nature20": (20,)}, masks, f"testB and testA1 below {base}")


def _only(base: Path, name: str, looked_for: str) -> tuple[Path, dict[str, str]]:
    found = pair_folders(base)
    tests = [pair for pair in found if "test" in str(pair[0].relative_to(base)).lower()]
    found = tests or found
    if len(found) != 1:
        places = ", ".join(str(folder) for folder, _ in found) or "none"
        raise DataError(
            f"{name}: looked for one place with {looked_for} below {base} and found {places}; set "
            f"benchmark.{name}.root to it."
        )
    return found[0]
