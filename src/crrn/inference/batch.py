"""Many photos: find them, name their results, and record which of them are done."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from crrn import __version__
from crrn.errors import ConfigError, DataError
from crrn.files import TEMPORARY
from crrn.inference.photo import SUFFIXES

RECORD = "predictions.jsonl"
"""The record's name in the output folder; of process N of several it is predictions.N.jsonl."""


@dataclass(frozen=True)
class Job:
    """One input and where its results go, by layer: "background", "reflection", "side_by_side"."""

    source: Path
    outputs: Mapping[str, Path]


@dataclass(frozen=True)
class Inputs:
    """The files that inputs mean.

    Attributes:
        photos: each file, and the name of its results in the output folder; sorted within each input.
        passed_over: files of folders and patterns that are not photos, sorted.
    """

    photos: Mapping[Path, Path]
    passed_over: Sequence[Path]


def find_inputs(given: Sequence[str], output: Path, suffixes: Sequence[str] = SUFFIXES) -> Inputs:
    """The files that inputs mean.

    Args:
        given: files, folders, and patterns as in a shell. A folder means all photos in it and in the folders below it.
            In a pattern, ** means any folders. A result's name is the path below the file's folder, the folder, or the
            last folder before the first *, ? or [ of a pattern. Hidden files and folders are left out of folders and
            patterns.
        output: the folder of the results. Its files are no inputs, also if it is below an input.
        suffixes: of the files that folders and patterns take.

    Raises:
        DataError: an input does not exist, or has no photos.
    """
    photos: dict[Path, Path] = {}
    known: set[Path] = set()
    passed_over: list[Path] = []
    for one in given:
        root, files = _files_of(one, output)
        chosen = files if Path(one).expanduser().is_file() else [f for f in files if f.suffix.lower() in suffixes]
        if not chosen:
            what = (
                "holds no photos"
                if Path(one).expanduser().is_dir()
                else "is not a file or folder, and matches no photos"
            )
            others = f" It means {listed(files)}." if files else ""
            raise DataError(f"The input {one} {what} ({', '.join(suffixes)}).{others}")
        for file in chosen:
            if file.resolve() not in known:  # the same photo may be meant by two inputs
                known.add(file.resolve())
                photos[file] = file.relative_to(root)
        passed_over += [file for file in files if file not in chosen]
    return Inputs(photos, passed_over)


def _files_of(given: str, output: Path) -> tuple[Path, list[Path]]:
    """The folder that names count from, and all files that an input means, whatever their kind, sorted."""
    path = Path(given).expanduser()
    if path.is_file():
        return path.parent, [path]
    found: Iterable[Path]
    if path.is_dir():
        root, found = path, path.rglob("*")
    else:
        root = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
        found = (Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute patterns)
    results = output.resolve()
    below = root.resolve() in results.parents
    return root, sorted(
        file
        for file in found
        if not any(part.startswith(".") for part in file.relative_to(root).parts)
        and not (below and results in file.resolve().parents)
        and file.is_file()
    )


def listed(files: Sequence[Path], names: int = 5) -> str:
    """How many files there are, of which kinds, and the first names: "7 files (5 .gif, 2 .txt): a.gif, ..."."""
    kinds = Counter(file.suffix.lower() or "without a suffix" for file in files)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    shown = ", ".join(file.name for file in files[:names])
    return f"{len(files)} file{'s' * (len(files) != 1)} ({counted}): {shown}{', ...' * (len(files) > names)}"


def plan(photos: Mapping[Path, Path], output: Path, layers: Sequence[str]) -> list[Job]:
    """Names the results in the output folder.

    A background gets the photo's own name. Another layer gets NAME_LAYER with the photo's suffix. If two names would be
    the same, a number is added.

    Args:
        photos: as of `find_inputs`.
        output: the folder of the results.
        layers: those that are written.

    Raises:
        ConfigError: a result would overwrite an input.
    """
    inputs = {_key(source) for source in photos}
    taken: set[str] = set()
    # Backgrounds first: they keep their names.
    names: dict[Path, dict[str, Path]] = {source: {} for source in photos}
    for layer in layers:
        for source, name in photos.items():
            plain = output / name
            plain = plain if layer == "background" else plain.with_stem(f"{plain.stem}_{layer}")
            path, number = plain, 2
            while _key(path) in taken:
                path, number = plain.with_stem(f"{plain.stem}_{number}"), number + 1
            if _key(path) in inputs:
                raise ConfigError(f"output={output} would overwrite the input {path}: give another folder.")
            taken.add(_key(path))
            names[source][layer] = path
    return [Job(source, names[source]) for source in photos]


def result_digest(settings: Mapping[str, Any]) -> str:
    """16 hex digits that change with any of the settings and with crrn's version.

    Args:
        settings: all that change a result, by name: plain values, as JSON holds them.
    """
    options = json.dumps({**settings, "crrn": __version__}, sort_keys=True)
    return hashlib.blake2b(options.encode(), digest_size=8).hexdigest()


class Record:
    """What this command has written into a folder: predictions.jsonl, one line of JSON for each file.

    Each of several processes that share the work writes its own record, and reads those of all.

    A line has the size and the time of change of the file and of its input, and the settings. It is appended when the
    file is complete, just before the file gets its name. If a file agrees with its line, it is complete, was written by
    this command, and has these settings. A killed process leaves at most a line without its file.

    Args:
        folder: the output folder.
        settings: the digest of all that changes the results (`result_digest`).
        overwrite: replace files that this command did not write.
        rank: the number of this process.

    Raises:
        DataError: a record is a link.
    """

    def __init__(self, folder: Path, settings: str, overwrite: bool = False, rank: int = 0) -> None:
        self.folder = folder
        self.path = folder / _record_name(rank)
        self.settings = settings
        self.overwrite = overwrite
        self.lines: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        if self.path.is_symlink():  # what is noted would go elsewhere
            raise DataError(f"{self.path} is a link: remove it, or give another output.")
        for path in [folder / RECORD, *sorted(folder.glob(_record_name("*")))]:
            if path.is_file() and not path.is_symlink():
                self._read(path)

    def _read(self, path: Path) -> None:
        """Takes over the lines of a record. Of several lines on one result each counts that is as the file is."""
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):  # torn by a kill: as if it had not been written
                continue
            if isinstance(line, dict) and isinstance(line.get("output"), str):
                self.lines[line["output"]].append(line)

    def done(self, job: Job) -> bool:
        """Whether all results of a job are there, made of this input with these settings."""
        return all(
            any(line | self._made_of(job.source) == line for line in self._lines_on(path))
            for path in job.outputs.values()
        )

    def refuse_foreign(self, job: Job) -> None:
        """DataError where a file of a result's name is not this command's, or a link leads out of the folder."""
        for path in job.outputs.values():
            if not path.parent.resolve().is_relative_to(self.folder.resolve()):
                raise DataError(f"{path.parent} is a link out of {self.folder}: remove it, or give another output.")
            if path.exists() and not self._lines_on(path) and not self.overwrite:
                raise DataError(
                    f"{path} exists, and is not, or no longer, what this command wrote: move it away, give another "
                    "output, or set overwrite=true."
                )

    def add(self, job: Job, path: Path, file: IO[bytes]) -> None:
        """Notes a result whose bytes are all in `file`, which is about to be put at `path`."""
        file.flush()
        line = {"output": self._name(path), **self._made_of(job.source), **_stamp(os.fstat(file.fileno()), "output_")}
        self.lines[line["output"]].append(line)
        # One write at the end: a torn line before it is closed by the line break in front.
        with self.path.open("ab") as record:
            record.write(b"\n" + json.dumps(line).encode() + b"\n")

    def remove_leftovers(self, jobs: Sequence[Job]) -> None:
        """Removes what a killed process left of these results under temporary names."""
        results = {path for job in jobs for path in job.outputs.values()}
        for folder in {path.parent for path in results}:
            for leftover in folder.glob(f".*{TEMPORARY}"):
                name = leftover.name.removesuffix(TEMPORARY).rpartition(".")[0]  # without the number of its process
                if folder / name[1:] in results:
                    leftover.unlink(missing_ok=True)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _lines_on(self, path: Path) -> list[dict[str, Any]]:
        """The lines that tell of this file as it is; none where it is not this command's, or is not there."""
        try:
            stamp = _stamp(path.stat(), "output_")
        except OSError:
            return []
        return [line for line in self.lines.get(self._name(path), []) if line | stamp == line]

    def _made_of(self, source: Path) -> dict[str, Any]:
        return {"input": str(source.resolve()), "settings": self.settings, **_stamp(source.stat(), "input_")}


def _record_name(rank: int | str) -> str:
    return RECORD if rank == 0 else RECORD.replace(".", f".{rank}.")


def _stamp(status: os.stat_result, prefix: str) -> dict[str, int]:
    return {f"{prefix}bytes": status.st_size, f"{prefix}changed_ns": status.st_mtime_ns}


def _key(path: Path) -> str:
    """Equal for names that are one file on a system that does not tell cases apart."""
    return str(path.resolve()).casefold()
