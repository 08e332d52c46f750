"""What a report is made from: evaluations and training runs that are finished."""

from __future__ import annotations

import csv
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crrn.errors import RunError
from crrn.evaluation.store import SESSION
from crrn.evaluation.summary import Table, collect, protocols_of, read_tables
from crrn.records import misfit, read_json

COMMANDS = ("train", "eval", "report")

COUNTS = {"training": object, "held_out": object}
RUN = {
    "config": {
        "net": dict,
        "data": {"batches": {"samples_per_epoch": int, "batch_size": int}},
        "stages": {"order": [str]},
        "ablation": str,
    },
    "sessions": [SESSION, ...],
    "data?": {"background?": COUNTS, "reflection?": COUNTS, "fingerprint?": str},
    "init?": (dict, None),
}
"""What a report needs of a run.json."""
Curve = list[dict[str, float]]

_ANOTHER = "leave the run out of runs=[...], or train it again"


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation.

    Attributes:
        name: its folder's name.
        folder: where it lies.
        record: its evaluation.json.
        results: as of `crrn.evaluation.summary.collect`.
        tables: all per-image numbers, by benchmark and protocol.
    """

    name: str
    folder: Path
    record: dict[str, Any]
    results: list[dict[str, Any]]
    tables: dict[tuple[str, str], list[Table]]

    def of(self, benchmark: str) -> list[dict[str, Any]]:
        """The results on one benchmark, one a protocol."""
        return [result for result in self.results if result["benchmark"] == benchmark]


@dataclass(frozen=True)
class Trained:
    """A finished training run.

    Attributes:
        name: its folder's name.
        folder: where it lies.
        record: its run.json: config, sessions, data.
        metrics: its summary.json, such as "val/background_ssim".
        curves: rows of each stage's metrics.csv, in the order of the stages; absent values are absent.
        panels: the last panel of each stage that drew any.
    """

    name: str
    folder: Path
    record: dict[str, Any]
    metrics: dict[str, float]
    curves: dict[str, Curve]
    panels: dict[str, Path]


def read_evaluation(folder: Path | str) -> Evaluated:
    """Reads an evaluation's folder; nothing in it is changed.

    Raises:
        RunError: there is no evaluation, or it is unfinished.
    """
    folder = Path(folder)
    summary = collect(folder)
    record, results = summary["evaluation"], summary["results"]
    found = {(result["benchmark"], result["protocol"]): result["removers"] for result in results}
    for benchmark, facts in record["benchmarks"].items():
        for protocol in record["protocols"]:
            for label in record["removers"]:
                entry = found.get((benchmark, protocol), {}).get(label)
                done = entry["images"] + len(entry["problems"]) if entry else 0
                if done < facts["images"]:
                    raise RunError(
                        f"{folder} is unfinished: {label} has {done} of the {facts['images']} images of {benchmark} "
                        f"under {protocol}; go on with it by the command that began it: {commands(record)[-1]}"
                    )
    tables = {
        (benchmark, protocol.name): read_tables(folder, record, benchmark, protocol)
        for benchmark in record["benchmarks"]
        for protocol in protocols_of(record)
    }
    return Evaluated(folder.resolve().name, folder, record, results, tables)


def read_run(folder: Path | str) -> Trained:
    """Reads a run's folder; nothing in it is changed.

    Raises:
        RunError: there is no run, it is unfinished, or a file of it is torn.
    """
    folder = Path(folder)
    if not (folder / "run.json").exists():
        raise RunError(
            f"{folder} holds no run ({folder / 'run.json'} is missing): make one with `crrn train name=NAME`."
        )
    record = read_json(folder / "run.json", RUN, _ANOTHER)
    stages = record["config"]["stages"]
    wrong = misfit(stages, {stage: {"epochs": int} for stage in stages["order"]}, "config.stages")
    if wrong:
        raise RunError(f"{folder / 'run.json'} is not as crrn writes it, as {wrong}: {_ANOTHER}.")
    if not (folder / "summary.json").exists():
        raise RunError(
            f"{folder} is unfinished ({folder / 'summary.json'} is missing): go on with it by "
            f"`crrn train resume={folder}` and the settings that it was started with."
        )
    begun = [stage for stage in stages["order"] if (folder / stage / "metrics.csv").exists()]
    return Trained(
        folder.resolve().name,
        folder,
        record,
        read_json(folder / "summary.json", {str: float}, _ANOTHER),
        {stage: read_curve(folder / stage / "metrics.csv") for stage in begun},
        {stage: panels[-1] for stage in begun if (panels := sorted((folder / stage / "panels").glob("*.png")))},
    )


def read_curve(path: Path) -> Curve:
    """The rows of a metrics.csv, as numbers.

    Raises:
        RunError: the file cannot be read, has no steps, or a cell is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}): {_ANOTHER}.") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path} is not a table of numbers ({error}): {_ANOTHER}.") from error
    if any("step" not in row or not math.isfinite(row["step"]) for row in rows):
        raise RunError(f"{path} has rows without a step: {_ANOTHER}.")
    return rows


def commands(record: Mapping[str, Any]) -> list[str]:
    """The commands that made an evaluation or a run, in their order, as a shell takes them; repeats are one."""
    return list(dict.fromkeys(as_typed(session["command"]) for session in record["sessions"]))


def as_typed(command: Sequence[str]) -> str:
    """``python -m src.eval name=x 'removers=[a,b]'`` from a process's arguments."""
    program, *arguments = command
    known = {f"{name}.py": f"python -m src.{name}" for name in COMMANDS}
    return f"{known.get(program, program)} {shlex.join(arguments)}".strip()


def last(curve: Curve, key: str) -> float:
    """The last value of a column; NaN where there is none."""
    return next((row[key] for row in reversed(curve) if key in row), math.nan)
