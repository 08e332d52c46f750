"""The numbers of an evaluation on disk: one CSV a benchmark, protocol and remover, one row an image, written as it is
done.

evaluations/NAME/
  evaluation.json                               what was compared, on what, with what; and the state of each table
  images/BENCHMARK/PROTOCOL/REMOVER.csv         per-image values (.parquet beside it where asked for)
  images/BENCHMARK/PROTOCOL/REMOVER.csv.N       those of process N of several, until they are merged into REMOVER.csv
  summary.json  summary.md                      means, intervals, tests
  cases/BENCHMARK/CASE/{mixture,background,reflection,REMOVER}.png      the worst, median and best cases
  outputs/BENCHMARK/SIZE/REMOVER/CASE.png       all estimates, where asked for
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crrn.errors import RunError
from crrn.files import write_atomically

SESSION = {
    "started": str,
    "command": [str, ...],
    "git": {"commit?": str, "dirty?": bool},
    "python": str,
    "machine": str,
    "versions": {str: str},
}
RECORD = {
    "benchmarks": {
        str: {
            "images": int,
            "scenes": int,
            "subsets": {str: int},
            "layers": {str: int},
            "published": {str: [int]},
            "fingerprint": str,
            "problems": [{"where": str, "what": str}],
            "notes": [str],
        }
    },
    "protocols": {str: {"recipe": dict, "digest": str, "describe": str}},
    "removers": {str: {"name": (str, {"name": str}, {"_target_": str}), "digest": str}},
    "perceptual": [str],
    "device": str,
    "sessions": [SESSION, ...],
}
"""What tables and reports need of an evaluation.json."""

FACTS = ("image", "subset", "scene", "categories", "height", "width", "seconds")
WITHOUT_TRUTH = ("change", "residual")
"""What is measured where there is no ground truth: mean |B - I|, and mean |I - B - R| of removers that estimate R."""


@dataclass
class Row:
    """An image's numbers."""

    image: str
    subset: str
    categories: dict[str, str] = field(default_factory=dict)
    height: int = 0
    width: int = 0
    seconds: float = math.nan
    values: dict[str, float] = field(default_factory=dict)
    """By metric; NaN where the image has no value, such as under an empty mask."""
    problem: str = ""
    """Why the image could not be evaluated; it is then in no mean, and the next start tries it again."""
    scene: str = ""
    """What it shares with other images that show the same objects; "" where it shares nothing."""


class ImageScores:
    """The per-image table of one remover on one benchmark under one protocol.

    Rows are appended and flushed one by one, so a killed evaluation loses at most the image it was at, and goes on
    there. Reading changes nothing: rows with a problem stay until the next start tries their images again.

    Of several processes each appends to a file of its own and reads those of all, until `merge` makes them one.

    Args:
        path: the CSV file.
        metrics: its columns.
        rank: the number of this process; 0 appends to `path` itself.
    """

    def __init__(self, path: Path, metrics: Sequence[str], rank: int = 0) -> None:
        self.path = path
        self.metrics = tuple(metrics)
        self.header = [*FACTS, *self.metrics, "problem"]
        self._own = path.with_name(f"{path.name}.{rank}") if rank else path
        self._untidy = self._kept(self._own)[1]
        self.done = {row["image"] for file in self._files() for row in self._kept(file)[0]}
        """The images that have a sound row."""

    def _files(self) -> list[Path]:
        """The file, and those of other processes."""
        parts = [part for part in self.path.parent.glob(f"{self.path.name}.*") if part.suffix[1:].isdigit()]
        return [self.path, *sorted(parts)]

    def _kept(self, file: Path) -> tuple[list[dict[str, str]], bool]:
        """The sound rows of a file, and whether it holds anything else: a torn last line, or rows with a problem."""
        if not file.exists():
            return [], False
        text = file.read_bytes().decode("utf-8", errors="surrogateescape")
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.DictReader(io.StringIO(whole, newline="")))
        kept = [row for row in rows if not row.get("problem")]
        if whole and next(csv.reader(io.StringIO(whole, newline=""))) != self.header:
            raise RunError(f"{file} holds other columns than this evaluation writes; start another by name=NEW.")
        return kept, whole != text or len(kept) != len(rows)

    def _tidy(self) -> None:
        """Leaves the sound rows alone in this process's file: images with a problem are tried again."""
        kept, self._untidy = self._kept(self._own)[0], False
        with write_atomically(self._own, "w") as file:
            writer = csv.DictWriter(file, self.header)
            writer.writeheader()
            writer.writerows(kept)

    def merge(self, images: Sequence[str]) -> None:
        """Makes the files of all processes one, when no other process appends any more.

        Args:
            images: the order of the rows.
        """
        files = self._files()
        if len(files) == 1:
            return
        found: dict[str, Row] = {}
        for row in self.rows():
            if row.image not in found or found[row.image].problem:
                found[row.image] = row
        place = {image: number for number, image in enumerate(images)}
        with write_atomically(self.path, "w") as file:
            writer = csv.DictWriter(file, self.header)
            writer.writeheader()
            for row in sorted(found.values(), key=lambda row: place.get(row.image, len(place))):
                writer.writerow(self._line(row))
        for part in files[1:]:
            part.unlink(missing_ok=True)
        self._untidy = self._kept(self._own)[1]

    def add(self, row: Row) -> None:
        """Appends a row; it is in the operating system's hands when this returns.

        Raises:
            RunError: the disk is full or the folder cannot be written to.
        """
        if self._untidy:
            self._tidy()
        try:
            self._own.parent.mkdir(parents=True, exist_ok=True)
            with self._own.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
                writer = csv.DictWriter(file, self.header)
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(self._line(row))
                file.flush()
                if row.problem:
                    os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"Cannot write {self._own}: {error.strerror or error}; the rows so far are kept.") from error
        if not row.problem:
            self.done.add(row.image)

    def _line(self, row: Row) -> dict[str, Any]:
        """A row as its file holds it."""
        return {
            "image": row.image,
            "subset": row.subset,
            "scene": row.scene,
            "categories": ";".join(f"{key}={value}" for key, value in row.categories.items()),
            "height": row.height,
            "width": row.width,
            "seconds": _number(row.seconds),
            "problem": " ".join(row.problem.split()),
            **{metric: _number(row.values.get(metric, math.nan)) for metric in self.metrics},
        }

    def rows(self) -> Iterator[Row]:
        """All whole rows, as they are on disk.

        Raises:
            RunError: the file holds other columns, or a cell is no number.
        """
        try:
            for file in self._files():
                yield from self._rows(file)
        except (ValueError, TypeError, AttributeError, csv.Error) as error:
            raise RunError(f"{self.path} is torn ({error}); evaluate anew by name=NEW.") from error

    def _rows(self, path: Path) -> Iterator[Row]:
        if not path.exists():
            return
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.DictReader(line for line in file if line.endswith("\n"))
            if reader.fieldnames is not None and list(reader.fieldnames) != self.header:
                raise RunError(f"{path} holds other columns than this evaluation; evaluate anew by name=NEW.")
            for line in reader:
                pairs = (pair.partition("=")[::2] for pair in line["categories"].split(";") if pair)
                yield Row(
                    line["image"],
                    line["subset"],
                    dict(pairs),
                    int(line["height"]),
                    int(line["width"]),
                    _value(line["seconds"]),
                    {metric: _value(line[metric]) for metric in self.metrics},
                    line["problem"],
                    line["scene"],
                )


def write_parquet(table: ImageScores) -> None:
    """The table as Parquet beside the CSV, with numbers as numbers.

    Raises:
        RunError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise RunError(
            "Parquet needs pyarrow: pip install 'crrn[parquet]', or set parquet=false; the CSV files are complete."
        ) from error
    rows = list(table.rows())
    columns: dict[str, Any] = {
        "image": [row.image for row in rows],
        "subset": [row.subset for row in rows],
        "scene": [row.scene for row in rows],
        "categories": [json.dumps(row.categories) for row in rows],
        "height": [row.height for row in rows],
        "width": [row.width for row in rows],
        "seconds": pa.array([row.seconds for row in rows], pa.float64(), from_pandas=True),
        **{
            name: pa.array([row.values[name] for row in rows], pa.float64(), from_pandas=True) for name in table.metrics
        },
        "problem": [row.problem for row in rows],
    }
    with write_atomically(table.path.with_suffix(".parquet")) as file:
        pq.write_table(pa.table(columns), file)


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _value(text: str) -> float:
    return float(text) if text else math.nan
