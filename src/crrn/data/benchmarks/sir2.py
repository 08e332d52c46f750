"""SIR2 (Wan 2017): postcards, solid objects and wild scenes, as released or as repacked by others."""

from __future__ import annotations

import re
from pathlib import Path

from crrn.data.benchmarks.case import Benchmark, Case, Problem, make_benchmark
from crrn.data.benchmarks.pairs import existing, listing, match, pair_folders, role_files

PUBLISHED = {"postcard": (199,), "solidobject": (200,), "wildscene": (55, 100, 101)}
"""The wild set has 101 scenes, 55 in older copies; the paper's tables say 100."""

ROLES = {"m": "mixture", "g": "background", "r": "reflection"}
FORM = re.compile(r"(?:(?P<scene>.+?)-)?(?P<role>[mgr])(?:-(?P<number>.+))?", re.IGNORECASE)
"""``m``, or ``<ab>-<k>-m-<n>``."""


def sir2(root: Path | str, masks: Path | str | None = None, subsets: list[str] | None = None) -> Benchmark:
    """SIR2, in whichever of its trees lies at the root.

    - raw: folders whose names begin with Postcard, SolidObject and Wildscene, and below them m, g and r of each
      scene, with apertures (Focus) and glass thicknesses (Thickness) as categories;
    - repacked: SET/{blended,transmission_layer[,reflection_layer]}, with one name on both sides or with -m- and -g-
      in it.

    Args:
        root: the folder, or one of its sets.
        masks: a folder of masks, MASKS/CASE.png.
        subsets: of postcard, solidobject, wildscene; null for all that are there.

    Raises:
        DataError: no folder, or nothing of SIR2 in it.
    """
    base = existing(root, "sir2")
    repacked = pair_folders(base)
    cases, problems = _repacked(base, repacked) if repacked else _raw(base)
    if subsets is not None:
        cases = [case for case in cases if case.subset in subsets]
        problems = [problem for problem in problems if problem.where.split("/")[0] in subsets]
    looked_for = (
        f"the raw tree (Postcard*, SolidObject*, Wildscene*) or SET/blended with SET/transmission_layer below {base}"
    )
    present = {case.subset for case in cases}
    published = {subset: counts for subset, counts in PUBLISHED.items() if subset in (subsets or present)}
    return make_benchmark("sir2", cases, problems, published, masks, looked_for)


def _repacked(base: Path, folders: list[tuple[Path, dict[str, str]]]) -> tuple[list[Case], list[Problem]]:
    cases, problems = [], []
    for folder, roles in folders:
        subset = subset_of(folder) or folder.name
        listings = {}
        for role, name in roles.items():
            found: dict[str, list[Path]] = {}
            for key, paths in listing(folder, name).items():
                found.setdefault(re.sub(r"-[mgr]-", "-", key), []).extend(paths)
            listings[role] = found
        part, wrong = match(listings, subset, f"{subset}/")
        cases += part
        problems += wrong
    return cases, problems


def _raw(base: Path) -> tuple[list[Case], list[Problem]]:
    cases, problems = [], []
    for (folder, key), layers in role_files(base, FORM, ROLES).items():
        subset = subset_of(folder)
        if subset is None:
            continue
        places = [part for part in folder.relative_to(base.parent).parts if not subset_of(Path(part))]
        if folder != base and base.name in places:
            places.remove(base.name)
        kinds = [number for number, part in enumerate(places) if part.lower().startswith(("focus", "thick"))]
        categories = {}
        if kinds and len(places) > kinds[0] + 1:
            kind = "aperture" if places[kinds[0]].lower().startswith("focus") else "thickness"
            categories = {kind: places[-1]}
        # One image a folder: its name is the folder's; where file names carry more, they say it all.
        name = "/".join([subset, *places, *([key] if key else [])])
        part, wrong = match(
            {role: {name: layers.get(role, [])} if role in layers else {} for role in ROLES.values()},
            subset,
            "",
            categories,
        )
        cases += part
        problems += wrong
    return cases, problems


def subset_of(folder: Path) -> str | None:
    """The subset that the innermost telling part of a path names."""
    for part in reversed(folder.parts):
        for subset in PUBLISHED:
            if re.sub(r"[^a-z]", "", part.lower()).startswith(subset):
                return subset
    return None
