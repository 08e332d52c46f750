"""A benchmark checked in full, every image decoded, and its index."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from crrn import __version__
from crrn.data.benchmarks import Benchmark, Case, Problem, inspect
from crrn.data.benchmarks.case import Progress, dominant
from crrn.data.photos import read_image
from crrn.data.threads import in_threads
from crrn.errors import DataError
from crrn.files import write_atomically


@dataclass(frozen=True)
class Checked:
    """A benchmark that was looked at in full.

    Attributes:
        benchmark: its sound cases, all its problems, and the fingerprint that evaluations of it carry.
        sizes: (height, width) of each sound case.
    """

    benchmark: Benchmark
    sizes: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class _Look:
    size: tuple[int, int] = (0, 0)
    pictures: Mapping[str, bytes] | None = None
    """A digest of the pixels, by role; None where a file cannot be decoded."""
    problem: Problem | None = None
    """Why it cannot be decoded, or that its mask is empty."""


def check(benchmark: Benchmark, progress: Progress = lambda what, done, of: None) -> Checked:
    """All that `crrn.data.benchmarks.inspect` finds; images that begin well and cannot be decoded; masks that are
    empty; and pictures that are there twice, by their pixels: two cases with one mixture, or a mixture that is its own
    background.

    The fingerprint is the one that `crrn.evaluation` computes for the same files.
    """
    inspected = inspect(benchmark, progress)
    problems, sound, sizes = [*inspected.problems], [], {}
    mixtures: dict[bytes, str] = {}
    looks = in_threads(_look, inspected.cases)
    for number, (case, look) in enumerate(zip(inspected.cases, looks, strict=True), start=1):
        progress(f"{benchmark.name}: every image", number, len(inspected.cases))
        if look.problem is not None:
            problems.append(look.problem)
        if look.pictures is None:
            continue
        sound.append(case)
        sizes[case.name] = look.size
        first = mixtures.setdefault(look.pictures["mixture"], case.name)
        if first != case.name:
            problems.append(Problem("duplicate", case.name, f"its mixture is the same picture as that of {first}"))
        if look.pictures["mixture"] == look.pictures.get("background"):
            problems.append(Problem("duplicate", case.name, "its mixture and its background are the same picture"))
    return Checked(replace(inspected, cases=tuple(sound), problems=tuple(problems), notes=()), sizes)


def write_index(checked: Checked, path: Path) -> None:
    """Writes what there is, as JSON: counts, fingerprint, problems, and each case's files (relative to "root"), size
    and categories. The same files give the same bytes.

    Raises:
        RunError: the place cannot be written to.
    """
    benchmark = checked.benchmark
    files = [str(file) for case in benchmark.cases for file in case.files().values()]
    root = Path(os.path.commonpath([str(Path(file).parent) for file in files]) if files else ".")
    index = {
        "benchmark": benchmark.name,
        "root": str(root),
        **benchmark.summary(),
        "crrn": __version__,
        "cases": [
            {
                "name": case.name,
                "subset": case.subset,
                "height": checked.sizes[case.name][0],
                "width": checked.sizes[case.name][1],
                "files": {role: file.relative_to(root).as_posix() for role, file in case.files().items()},
                "categories": dict(case.categories),
            }
            for case in benchmark.cases
        ],
    }
    with write_atomically(path, "w") as file:
        json.dump(index, file, indent=1)


def _look(case: Case) -> _Look:
    pictures, size, problem = {}, (0, 0), None
    try:
        for role, file in case.files().items():
            photo = read_image(file)
            size = photo.shape[0], photo.shape[1]
            if role == "mask" and not dominant(photo).any():
                problem = Problem("mask", case.name, f"{file} is an empty mask")
            pictures[role] = hashlib.blake2b(repr(photo.shape).encode() + photo.tobytes(), digest_size=16).digest()
    except DataError as error:
        return _Look(problem=Problem("unreadable", case.name, str(error).rpartition(": ")[0]))
    return _Look(size, pictures, problem)
