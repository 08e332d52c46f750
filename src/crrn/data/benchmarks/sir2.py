"""SIR2 (Wan 2017): postcards, solid objects and wild scenes, as released or as repacked by others."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from crrn.data.benchmarks.case import Benchmark, Case, Problem, make_benchmark
from crrn.data.benchmarks.pairs import existing, listing, match, pair_folders, role_files
from crrn.errors import DataError

PUBLISHED = {"postcard": (199,), "solidobject": (200,), "wildscene": (55, 100, 101)}
"""The wild set has 101 scenes, 55 in older copies; the paper's tables say 100."""

ROLES = {"m": "mixture", "g": "background", "r": "reflection"}
FORM = re.compile(r"(?:(?P<scene>.+?)-)?(?P<role>[mgr])(?:-(?P<number>.+))?", re.IGNORECASE)
"""``m``, or ``<ab>-<k>-m-<n>``."""

APERTURES = frozenset(("11", "13", "16", "19", "22", "27", "32"))
THICKNESSES = frozenset(("3", "5", "10"))
"""What n may be; millimetres of glass."""
KINDS = ("focus", "thick")
"""How the names of folders of settings begin."""


def sir2(root: Path | str, masks: Path | str | None = None, subsets: list[str] | None = None) -> Benchmark:
    """SIR2, in whichever of its trees lies at the root.

    - raw: folders whose names begin with Postcard, SolidObject and Wildscene, and below them m, g and r of each
      scene, with apertures (Focus) and glass thicknesses (Thickness) as categories;
    - repacked: SET/{blended,transmission_layer[,reflection_layer]}, with one name on both sides or with -m- and -g-
      in it, which then ends with the aperture or thickness.

    The settings of one postcard pair or one solid object are one scene; wild scenes are scenes of their own.

    A case's name does not depend on what lies around the set's folder. The three sets are expected to be there, unless
    the root is one of them or ``subsets`` names others.

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
    cases = [replace(case, scene=scene_of(case.name)) for case in cases]
    if subsets is not None:
        unknown = sorted(set(subsets) - set(PUBLISHED))
        if unknown:
            raise DataError(f"sir2 has no subset {unknown[0]!r}: choose from {', '.join(PUBLISHED)}.")
        cases = [case for case in cases if case.subset in subsets]
        problems = [problem for problem in problems if problem.where.split("/")[0] in subsets]
    looked_for = (
        f"the raw tree (Postcard*, SolidObject*, Wildscene*) or SET/blended with SET/transmission_layer below {base}"
    )
    own = subset_of(base)
    expected = subsets or ([own] if own else list(PUBLISHED))
    published = {subset: counts for subset, counts in PUBLISHED.items() if subset in expected}
    return make_benchmark("sir2", cases, problems, published, masks, looked_for)


def _repacked(base: Path, folders: list[tuple[Path, dict[str, str]]]) -> tuple[list[Case], list[Problem]]:
    cases, problems = [], []
    # Other sets may lie beside SIR2's; folders of other names count only where none has a name of SIR2's.
    folders = [found for found in folders if subset_of(found[0])] or folders
    subsets = [subset_of(folder) or folder.name for folder, _ in folders]
    for (folder, roles), subset in zip(folders, subsets, strict=True):
        # Focus/ and Thickness/ of one set may hold the same names; withgt/ alone says nothing.
        places = _below_subset(folder) if subsets.count(subset) > 1 else []
        listings = {}
        for role, name in roles.items():
            found: dict[str, list[Path]] = {}
            for key, paths in listing(folder, name).items():
                found.setdefault(re.sub(r"-[mgr]-", "-", key), []).extend(paths)
            listings[role] = found
        part, wrong = match(listings, subset, "/".join([subset, *places, ""]))
        cases += [replace(case, categories=_setting(case)) for case in part]
        problems += wrong
    return cases, problems


def _setting(case: Case) -> dict[str, str]:
    """What <ab>-<k>-m-<n> says; names without the role in them are not SIR2's own."""
    number = case.mixture.stem.rpartition("-m-")[2]
    kinds = {"aperture": APERTURES, "thickness": THICKNESSES}
    return {kind: number for kind, numbers in kinds.items() if "-m-" in case.mixture.stem and number in numbers}


def _raw(base: Path) -> tuple[list[Case], list[Problem]]:
    cases, problems = [], []
    for (folder, key), layers in role_files(base, FORM, ROLES).items():
        subset = subset_of(folder)
        if subset is None:
            continue
        places = _below_subset(folder)
        kinds = [number for number, part in enumerate(places) if part.lower().startswith(KINDS)]
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


def scene_of(name: str) -> str:
    """The postcard pair or solid object of a case, by its name: ``postcard/ab`` of ``postcard/Focus/ab/11/ab-5-11``,
    ``solidobject/5`` of ``solidobject/5/Focus/27``; "" where the name says none.
    """
    subset, *places = name.split("/")
    if subset == "wildscene":
        return ""
    setting = re.fullmatch(r"(.+?)-\d+-\w+", places[-1])
    if setting:
        return f"{subset}/{setting[1]}"
    kinds = [number for number, part in enumerate(places) if part.lower().startswith(KINDS)]
    if kinds:
        around = [*places[: kinds[0]], *places[kinds[0] + 1 : -1]]  # the last is the setting
        return "/".join([subset, *around]) if around else ""
    return ""


def _below_subset(folder: Path) -> list[str]:
    """The parts of a path below the innermost one that names a subset."""
    parts: list[str] = []
    for part in folder.parts:
        parts = [] if subset_of(Path(part)) else [*parts, part]
    return parts


def subset_of(folder: Path) -> str | None:
    """The subset that the innermost telling part of a path names."""
    for part in reversed(folder.parts):
        for subset in PUBLISHED:
            if re.sub(r"[^a-z]", "", part.lower()).startswith(subset):
                return subset
    return None
