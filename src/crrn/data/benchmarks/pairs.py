"""Matching the files of mixtures with those of their layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from crrn.data.benchmarks.case import Benchmark, Case, Problem, make_benchmark
from crrn.data.scenes import scene_form, scene_of
from crrn.data.sources import photos_below
from crrn.errors import DataError

PAIR_FOLDERS = (
    ("blended", "transmission_layer", "reflection_layer"),
    ("blended", "transmission", "reflection"),
    ("testB", "testA1", "testA2"),
    ("input", "gt", "reflection"),
    ("M", "T", "R"),
    ("I", "T", "R"),
)
"""Names under which releases and repacks keep mixtures, backgrounds and (where they exist) reflections."""


def paired_folder(
    root: Path | str,
    mixture: str = "blended",
    background: str | None = "transmission_layer",
    reflection: str | None = "reflection_layer",
    masks: Path | str | None = None,
    name: str | None = None,
    count: int | list[int] | None = None,
    scene_pattern: str | None = None,
) -> Benchmark:
    """Any folder of pairs, at the root or in one place below it.

    A role is a folder below the root, or a pattern with a star. Files of folders match by their names without suffix,
    such as blended/1.jpg and transmission_layer/1.png. Files of patterns, such as ``*-input.png`` and ``*-label1.png``,
    match by the part that the star stands for.

    Args:
        root: the folder.
        mixture, background, reflection: the roles; null for a layer without ground truth. A reflection folder that
            does not exist counts as null.
        masks: a folder of masks of the reflection-dominant region, MASKS/CASE.png.
        name: of the benchmark; else the root's.
        count: how many pairs there should be.
        scene_pattern: a regular expression at the start of a case's name; its group is the scene. Null: each case is a
            scene of its own.

    Raises:
        ConfigError: the pattern is no regular expression, or has no group.
        DataError: the root or a role is not there, or no pair is.
    """
    root = existing(root, "folder")
    name = name or root.name
    if "*" not in mixture:  # a pattern looks into all folders by itself
        root = place_of(root, lambda folder: (folder / mixture).is_dir(), "folder")
    listings = {"mixture": listing(root, mixture)}
    if background is not None:
        listings["background"] = listing(root, background)
    if reflection is not None and ("*" in reflection or (root / reflection).is_dir()):
        listings["reflection"] = listing(root, reflection)
    cases, problems = match(listings, subset=name)
    if scene_pattern is not None:
        form = scene_form(scene_pattern, "benchmark.folder.scene_pattern")
        cases = [replace(case, scene=scene_of(case.name, form, default="")) for case in cases]
    known = () if count is None else (count,) if isinstance(count, int) else tuple(count)
    looked_for = ", ".join(str(root / pattern) for pattern in (mixture, background) if pattern)
    return make_benchmark(name, cases, problems, {name: known} if known else {}, masks, looked_for)


def existing(root: Path | str, name: str) -> Path:
    """The root as an absolute path; DataError where it is no folder."""
    path = Path(root).expanduser().resolve()
    if not path.is_dir():
        raise DataError(f"There is no folder {path} for the benchmark {name}: set benchmark.{name}.root=DIR.")
    return path


def listing(root: Path, pattern: str) -> dict[str, list[Path]]:
    """The photos of a role by their keys, relative to the root; see `paired_folder` for the pattern."""
    if "*" not in pattern:
        folder = root / pattern
        if not folder.is_dir():
            raise DataError(
                f"There is no folder {folder}; name the roles' folders or patterns, as in mixture='*-input.png'."
            )
        keyed = ((path.relative_to(folder.resolve()).with_suffix("").as_posix(), path) for path in photos_below(folder))
    else:
        form = re.compile("(.+)".join(re.escape(part) for part in pattern.split("*", 1)).replace(r"\*", r"[^/]+"))
        matches = ((form.fullmatch(path.relative_to(root.resolve()).as_posix()), path) for path in photos_below(root))
        keyed = ((match[1], path) for match, path in matches if match)
    found: dict[str, list[Path]] = {}
    for key, path in keyed:
        found.setdefault(key, []).append(path)
    return found


def match(
    listings: Mapping[str, Mapping[str, list[Path]]],
    subset: str,
    prefix: str = "",
    categories: Mapping[str, str] | None = None,
) -> tuple[list[Case], list[Problem]]:
    """Cases from each role's files by key: mixture and, where listed, background must be there, a reflection may be
    missing.

    A key with two files in one role, or without its partner (a reflection without a mixture, too), is a problem and no
    case.
    """
    cases, problems = [], []
    needed = [role for role in ("mixture", "background") if role in listings]
    for key in sorted({key for listing in listings.values() for key in listing}):
        name = prefix + key
        found = {role: files[key] for role, files in listings.items() if files.get(key)}
        missing = [role for role in needed if role not in found]
        doubled = [paths for paths in found.values() if len(paths) > 1]
        if missing:
            there = next(iter(found.values()))[0]
            problems.append(Problem("unmatched", name, f"{there} has no {missing[0]} beside it"))
        elif doubled:
            problems.append(
                Problem("ambiguous", name, f"{' and '.join(path.name for path in doubled[0])} are one image's")
            )
        else:
            layers = {role: paths[0] for role, paths in found.items()}
            case = Case(name, subset, layers["mixture"], layers.get("background"), layers.get("reflection"))
            cases.append(replace(case, categories=dict(categories or {})))
    return cases, problems


def pair_folders(root: Path, depth: int = 4) -> list[tuple[Path, dict[str, str]]]:
    """All folders, the root and at most ``depth`` levels below it, that hold a known pair of folders, with the roles'
    names."""
    found = []
    for names in PAIR_FOLDERS:
        if all((root / name).is_dir() for name in names[:2]):
            roles = zip(("mixture", "background", "reflection"), names, strict=True)
            found.append((root, {role: name for role, name in roles if (root / name).is_dir()}))
            return found
    if depth:
        for child in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
            found += pair_folders(child, depth - 1)
    return found


def place_of(base: Path, holds: Callable[[Path], bool], name: str, depth: int = 3) -> Path:
    """The folder nearest to the base that ``holds`` accepts: the base itself, or one at most ``depth`` levels below it.

    Archives often have further folders around their content. The result is the base if no folder is accepted.

    Raises:
        DataError: several folders of one level hold it.
    """
    level = [base]
    for _ in range(depth + 1):
        found = [folder for folder in level if holds(folder)]
        if len(found) > 1:
            raise DataError(
                f"{name}: {found[0]} and {found[1]} both hold what is looked for; set benchmark.{name}.root to one."
            )
        if found:
            return found[0]
        level = [
            child
            for folder in level
            for child in sorted(folder.iterdir())
            if child.is_dir() and not child.name.startswith(".")
        ]
    return base


def role_files(
    root: Path, form: re.Pattern[str], roles: Mapping[str, str]
) -> dict[tuple[Path, str], dict[str, list[Path]]]:
    """Files whose name tells their role, grouped by folder and by what else the name says.

    Args:
        form: with a group ``role`` and other groups that make the key.
        roles: the letter that ``role`` matches -> mixture, background or reflection.
    """
    groups: dict[tuple[Path, str], dict[str, list[Path]]] = {}
    for path in photos_below(root):
        hit = form.fullmatch(path.stem)
        if hit:
            key = "-".join(part for name, part in hit.groupdict().items() if name != "role" and part)
            groups.setdefault((path.parent, key), {}).setdefault(roles[hit["role"].lower()], []).append(path)
    return groups
