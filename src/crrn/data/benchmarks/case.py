"""What a benchmark is: cases, what is wrong with them, and the fingerprint that goes into every result."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crrn.data.photos import upright_size
from crrn.data.sources import photos_below
from crrn.data.threads import in_threads
from crrn.errors import DataError
from crrn.image.picture import Pixels

ROLES = ("mixture", "background", "reflection", "mask")

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, of)``."""


@dataclass(frozen=True)
class Case:
    """One image of a benchmark; layers without ground truth are None.

    Attributes:
        name: unique within the benchmark, the same on every machine.
        subset: the part of the benchmark that published tables name.
        mixture, background, reflection: the layers' files.
        mask: a picture of the region where the reflection dominates, white on black.
        categories: what the benchmark says of the image, such as {"aperture": "11"}.
        scene: what it shares with other cases that show the same objects; "" for a case that is a scene of its own.
    """

    name: str
    subset: str
    mixture: Path
    background: Path | None = None
    reflection: Path | None = None
    mask: Path | None = None
    categories: Mapping[str, str] = field(default_factory=dict)
    scene: str = ""

    def files(self) -> dict[str, Path]:
        """The files that there are, by role."""
        return {role: path for role in ROLES if (path := getattr(self, role)) is not None}


@dataclass(frozen=True)
class Problem:
    """Something wrong with a benchmark's files.

    Attributes:
        kind: "unmatched", "ambiguous", "count", "unreadable", "size", "mask" or, from `crrn.data.preparation`,
            "duplicate".
        where: the case, file or subset.
        what: what is wrong, for a person.
    """

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Benchmark:
    """Cases in a fixed order.

    Attributes:
        name: what results call it.
        cases: sorted by name.
        problems: what the adapter could not match.
        published: subset -> the counts that papers and releases give it; a subset that is absent has none.
        fingerprint: as `inspect` computes it; None where that has not been done.
        notes: what a reader of the numbers should know, such as two cases with one and the same mixture.
    """

    name: str
    cases: tuple[Case, ...]
    problems: tuple[Problem, ...] = ()
    published: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fingerprint: str | None = None
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Cases of each subset."""
        return dict(sorted(Counter(case.subset for case in self.cases).items()))

    def scenes(self) -> int:
        """How many scenes the cases show."""
        return len({case.scene or case.name for case in self.cases})

    def summary(self) -> dict[str, Any]:
        """What a result says of its benchmark: counts of images and scenes, counts with each layer, published counts,
        fingerprint, problems."""
        return {
            "images": len(self.cases),
            "scenes": self.scenes(),
            "subsets": self.counts(),
            "layers": {role: sum(getattr(case, role) is not None for case in self.cases) for role in ROLES},
            "published": {subset: list(counts) for subset, counts in self.published.items()},
            "fingerprint": self.fingerprint,
            "problems": [vars(problem) for problem in self.problems],
            "notes": list(self.notes),
        }


def inspect(benchmark: Benchmark, progress: Progress = lambda what, done, of: None) -> Benchmark:
    """Looks at all files and gives back the benchmark of the sound cases, with every problem named, and its
    fingerprint.

    Checked are: counts against the published ones; that all layers of a case have one size; that each file has an
    image's header. Pixels are not decoded: a torn image is found when it is evaluated, or by `crrn.data.preparation`.
    The fingerprint is a digest of the sound cases' names and of the bytes of their files: equal fingerprints mean equal
    images, wherever they lie.
    """
    problems = [*benchmark.problems]
    sound, digest, mixtures = [], hashlib.blake2b(digest_size=8), dict[str, str]()
    notes = [*benchmark.notes]
    looks = in_threads(_look, benchmark.cases)
    for number, (case, (digests, wrong)) in enumerate(zip(benchmark.cases, looks, strict=True), start=1):
        progress(f"{benchmark.name}: fingerprint", number, len(benchmark.cases))
        problems += wrong
        if wrong:
            continue
        sound.append(case)
        digest.update(f"{case.name}\0".encode(errors="surrogateescape"))
        digest.update("".join(f"{role}\0{value}\0" for role, value in digests.items()).encode())
        first = mixtures.setdefault(digests["mixture"], case.name)
        if first != case.name:
            notes.append(f"{case.name} and {first} have one and the same mixture")
    problems += count_problems(benchmark)
    return replace(
        benchmark, cases=tuple(sound), problems=tuple(problems), fingerprint=digest.hexdigest(), notes=tuple(notes)
    )


def dominant(mask: Pixels) -> NDArray[np.bool_]:
    """The region that a mask's picture shows, (H, W): white on black, by the brightest of the channels."""
    return np.asarray(mask.max(axis=2) > 127)


def count_problems(benchmark: Benchmark) -> list[Problem]:
    """The subsets whose number of cases is none of the published ones."""
    counts = benchmark.counts()
    return [
        Problem("count", subset, f"{counts.get(subset, 0)} images where {' or '.join(map(str, known))} are published")
        for subset, known in benchmark.published.items()
        if counts.get(subset, 0) not in known
    ]


def refuse_problems(benchmark: Benchmark) -> None:
    """For strict work: raises a DataError that names the first problem and counts them all by kind."""
    if benchmark.problems:
        kinds = Counter(problem.kind for problem in benchmark.problems)
        raise DataError(
            f"{benchmark.name} has {', '.join(f'{count} x {kind}' for kind, count in kinds.items())}; the first: "
            f"{benchmark.problems[0]}; mend the files, or set strict=false to report them and go on with the rest."
        )


def make_benchmark(
    name: str,
    cases: Iterable[Case],
    problems: Iterable[Problem] = (),
    published: Mapping[str, tuple[int, ...]] | None = None,
    masks: Path | str | None = None,
    looked_for: str = "",
) -> Benchmark:
    """Sorts the cases, attaches masks from a folder (MASKS/CASE.png or another suffix), and refuses an empty set.

    Two cases of one name, cases without a mask and masks without a case are problems.

    Raises:
        DataError: no case at all, or no such folder of masks.
    """
    cases, problems = sorted(cases, key=lambda case: natural(case.name)), list(problems)
    names = Counter(case.name for case in cases)
    for case in cases:
        if names[case.name] > 1:
            problems.append(
                Problem("ambiguous", case.name, f"{case.mixture} is one of {names[case.name]} of this name")
            )
    cases = [case for case in cases if names[case.name] == 1]
    if not cases:
        first = f" ({problems[0]})" if problems else ""
        raise DataError(f"{name}: no image pairs found{first}; looked for {looked_for}.")
    if masks is not None:
        folder = Path(masks).expanduser()
        if not folder.is_dir():
            raise DataError(f"{name}: there is no folder of masks at {folder.absolute()}.")
        found: dict[str, list[Path]] = {}
        for path in photos_below(folder):
            found.setdefault(path.relative_to(folder.resolve()).with_suffix("").as_posix(), []).append(path)
        for number, case in enumerate(cases):
            own = found.pop(case.name, [])
            if len(own) == 1:
                cases[number] = replace(case, mask=own[0])
            elif own:
                problems.append(Problem("mask", case.name, f"{' and '.join(map(str, own))} are both its mask"))
            else:
                problems.append(Problem("mask", case.name, f"no mask {folder / case.name}.*"))
        problems += [Problem("mask", key, f"{paths[0]} is not the mask of a case") for key, paths in found.items()]
    return Benchmark(name, tuple(cases), tuple(problems), dict(published or {}))


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts 2 before 10."""
    import re

    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _look(case: Case) -> tuple[dict[str, str], list[Problem]]:
    digests, sizes, problems = {}, {}, []
    for role, path in case.files().items():
        try:
            sizes[role] = upright_size(path)
            digests[role] = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        except Exception as error:  # PIL's plugins raise all kinds of errors on broken files
            problems.append(
                Problem("unreadable", case.name, f"{path} is not a readable image ({str(error).split(' at 0x')[0]})")
            )
    if len(set(sizes.values())) > 1:
        written = ", ".join(f"{role} {height}x{width}" for role, (height, width) in sizes.items())
        problems.append(Problem("size", case.name, f"the layers differ in size ({written}, height x width)"))
    return digests, problems
