"""A benchmark's tables: on screen, as Markdown and as JSON, and compared with an earlier run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from crrn.bench.results import Line, readable, readable_seconds
from crrn.errors import RunError
from crrn.files import write_atomically
from crrn.screen import console

METRICS = "metrics.json"
README = "README.md"
HEAD = ("", "", "median", "", "× reference", "quartiles", "target", "")
COMPARED = ("", "", "before", "now", "change", "× reference before", "now")


def rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The lines of a suite under `HEAD`; a title stands in its first line only."""
    titles = ["", *(line.title for line in lines)]
    return [cells(line, repeated=line.title == before) for line, before in zip(lines, titles, strict=False)]


def cells(line: Line, repeated: bool = False) -> tuple[str, ...]:
    """A line's cells under `HEAD`."""
    target = str(line.target) if line.target else ""
    verdict = {True: "reached", False: "missed", None: ""}[line.reached]
    if line.contestant is None:
        several = len(line.samples) > 1
        spread = f"{readable(line.value.low)} – {readable(line.value.high)}" if several else ""
        return line.title, "", f"{readable(line.value.median)} {line.unit}", "", "", spread, target, verdict
    ratio = f"{readable(line.ratio.median)}×" if line.ratio else ""
    spread = f"{readable(line.ratio.low)} – {readable(line.ratio.high)}" if line.ratio else ""
    return (
        "" if repeated else line.title,
        line.contestant if line.ratio else f"{line.contestant} (reference)",
        f"{readable_seconds(line.value.median)} / {line.unit}",
        f"{readable(1 / line.value.median)} {line.unit}s/s",
        ratio,
        spread,
        target,
        verdict,
    )


def changes(before: Iterable[Line], now: Iterable[Line]) -> list[tuple[str, ...]]:
    """What both runs measured, under `COMPARED`; a change of -10 % in a race is a time 10 % shorter."""
    old = {line.key: line for line in before}
    found = []
    for line in now:
        if line.key not in old:
            continue
        earlier = old[line.key]
        change = line.value.median / earlier.value.median - 1 if earlier.value.median else float("nan")

        def show(one: Line) -> str:
            median = one.value.median
            return readable_seconds(median) if one.contestant is not None else f"{readable(median)} {one.unit}"

        ratios = (f"{readable(one.ratio.median)}×" if one.ratio else "" for one in (earlier, line))
        found.append((line.title, line.contestant or "", show(earlier), show(line), f"{change:+.0%}", *ratios))
    return found


def screen(title: str, head: Sequence[str], table_rows: Sequence[Sequence[str]]) -> None:
    """Prints a table."""
    table = Table(title=title, title_justify="left")
    for number, label in enumerate(head):
        table.add_column(label, justify="right" if number > 1 else "left")
    for row in table_rows:
        style = {"missed": "yellow", "reached": "green"}.get(row[-1], "")
        table.add_row(*row[:-1], Text(row[-1], style))
    console().print(table)


def markdown(head: Sequence[str], table_rows: Sequence[Sequence[str]]) -> str:
    """A table in GitHub's Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table_rows]
    return "\n".join(lines) + "\n"


def by_suite(lines: Iterable[Line]) -> list[tuple[str, list[Line]]]:
    """The lines of each suite, in their order."""
    return [(suite, list(group)) for suite, group in groupby(lines, key=lambda line: line.suite)]


def write(folder: Path, record: Mapping[str, Any], lines: Sequence[Line], before: Sequence[Line] = ()) -> None:
    """Writes metrics.json and README.md.

    Args:
        folder: where to.
        record: circumstances and settings.
        lines: what was measured so far.
        before: an earlier run's lines.
    """
    with write_atomically(folder / METRICS, "w") as file:
        json.dump({**record, "lines": [line.as_dict() for line in lines]}, file, indent=1)
    machine = record["machine"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    commit = record["git"].get("commit", "")[:12]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    reading = (
        "The contestants ran in turns. Times are medians over the repetitions. Ratios are computed within each "
        "repetition; the table has their median and quartiles. [metrics.json](metrics.json) has all numbers; "
        "docs/speed.md says what the suites measure.\n"
    )
    parts = [
        f"# Speed ({folder.name})\n",
        f"```sh\n{record['shell']}\n```\n",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB{gpu}; load average at the start "
        f"{machine['load_average']}. {record['started']}"
        + (f", commit {commit}{' with changes' if record['git'].get('dirty') else ''}." if commit else ".")
        + f" Python {record['python']}, {versions}.\n",
        reading,
    ]
    for suite, group in by_suite(lines):
        parts.append(f"## {suite}\n\n{markdown(HEAD, rows(group))}")
    if before:
        parts.append(
            f"## Compared with {record['settings']['compare']}\n\n{markdown(COMPARED, changes(before, lines))}"
        )
    with write_atomically(folder / README, "w") as file:
        file.write("\n".join(parts))


def read(path: Path) -> list[Line]:
    """The lines of an earlier run.

    Raises:
        RunError: the file is missing or is none of the benchmark's.
    """
    try:
        values = json.loads((path / METRICS if path.is_dir() else path).read_text(encoding="utf-8"))
        return [Line.from_dict(line) for line in values["lines"]]
    except OSError as error:
        raise RunError(f"compare={path} cannot be read: {error.strerror}; give a {METRICS} of this command.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"compare={path} is not a result of this command; give one of its {METRICS}.") from error
