"""From the per-image tables of an evaluation to its results: means, intervals, tests, worst and best cases."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from crrn.errors import RunError
from crrn.evaluation.gains import GAINS
from crrn.evaluation.labels import lower_is_better
from crrn.evaluation.runner import mask_origin, mean, open_scores
from crrn.evaluation.statistics import bootstrap, compare, holm, pooled
from crrn.evaluation.store import RECORD, WITHOUT_TRUTH, Row
from crrn.files import write_atomically
from crrn.metrics import Protocol
from crrn.records import read_json

CASES = 3
"""How many worst and best cases a result names."""


@dataclass
class Table:
    """All rows of one remover on one benchmark under one protocol."""

    label: str
    rows: dict[str, Row]
    """By image, those without a problem."""
    problems: dict[str, str]
    """Why an image has no numbers, by image."""

    def values(self, metric: str) -> dict[str, float]:
        """A metric by image."""
        return {image: row.values[metric] for image, row in self.rows.items()}


def read_record(folder: Path | str) -> dict[str, Any]:
    """evaluation.json of a folder.

    Raises:
        RunError: there is none, or it is torn.
    """
    path = Path(folder) / "evaluation.json"
    if not path.exists():
        raise RunError(f"{folder} holds no evaluation ({path} is missing): make one with `crrn eval name=NAME`.")
    record: dict[str, Any] = read_json(path, RECORD, "evaluate again by name=NEW")
    return record


def protocols_of(record: Mapping[str, Any]) -> list[Protocol]:
    """The recipes as they were when the numbers were made.

    Raises:
        RunError: this crrn does not know a recipe's settings.
    """
    try:
        return [Protocol(name=name, **entry["recipe"]) for name, entry in record["protocols"].items()]
    except TypeError as error:
        raise RunError(f"The recipe of a protocol has other settings than this crrn knows ({error}).") from error


def read_tables(folder: Path, record: Mapping[str, Any], benchmark: str, protocol: Protocol) -> list[Table]:
    """The tables of all removers; those that have not been evaluated are left out."""
    tables = []
    for label in record["removers"]:
        rows = list(open_scores(folder, benchmark, protocol, label, record["perceptual"]).rows())
        if rows:
            sound = {row.image: row for row in rows if not row.problem}
            problems = {row.image: row.problem for row in rows if row.problem and row.image not in sound}
            tables.append(Table(label, sound, problems))
    return tables


def summarise(folder: Path | str) -> dict[str, Any]:
    """What `collect` gives; also written as summary.json."""
    folder = Path(folder)
    summary = collect(folder)
    with write_atomically(folder / "summary.json", "w") as file:
        json.dump(plain(summary), file, indent=1)
    return summary


def collect(folder: Path | str) -> dict[str, Any]:
    """Everything that tables and reports need, read from the per-image tables: {"evaluation": the record, "results"}.

    A result is {"benchmark", "protocol", "recipe" (digest), "own" (`crrn.metrics.own.FACTS` by metric), "fingerprint",
    "masks", "removers": {label: {"images", "problems", "seconds", "metrics": {metric: {"mean", "low", "high", "images",
    "scenes", "skipped"}}, "subsets", "categories", "worst", "best"}}, "differing": [metric], "tests": [{"first",
    "second", "metric", "difference", "low", "high", "p", "p_holm"}]}. Metrics that no image has a value for are absent.
    "differing" are those that the removers have of different images, so that their means are not to be compared. Means
    follow the protocol's pooling; "subsets" and "categories" hold plain means.
    """
    folder = Path(folder)
    record = read_record(folder)
    results = []
    for benchmark, facts in record["benchmarks"].items():
        for protocol in protocols_of(record):
            tables = read_tables(folder, record, benchmark, protocol)
            if tables:
                results.append(
                    {
                        "benchmark": benchmark,
                        "protocol": protocol.name,
                        "recipe": protocol.digest(),
                        "own": dict(protocol.own),
                        "fingerprint": facts["fingerprint"],
                        "masks": mask_origin(facts),
                        "removers": {table.label: _remover(table, protocol) for table in tables},
                        "differing": differing(tables),
                        "tests": _tests(tables, protocol),
                    }
                )
    return {"evaluation": record, "results": results}


def _remover(table: Table, protocol: Protocol) -> dict[str, Any]:
    rows = list(table.rows.values())
    subsets = {row.image: row.subset for row in rows}
    scenes = {row.image: row.scene or row.image for row in rows}
    metrics = {}
    for metric in rows[0].values if rows else ():
        values = table.values(metric)
        known = {image: value for image, value in values.items() if not math.isnan(value)}
        if known:
            interval = bootstrap(pooled(known, subsets, scenes, protocol.pooling))
            metrics[metric] = {**interval._asdict(), "skipped": len(values) - len(known)}
    groups = {"subsets": {row.subset: "" for row in rows}, "categories": {}}
    for row in rows:
        groups["categories"].update({f"{key}={value}": "" for key, value in row.categories.items()})
    parts: dict[str, dict[str, Any]] = {}
    for kind, names in groups.items():
        parts[kind] = {}
        for name in sorted(names):
            inside = [
                row for row in rows if row.subset == name or name in (f"{k}={v}" for k, v in row.categories.items())
            ]
            parts[kind][name] = {
                "images": len(inside),
                **{metric: mean([row.values[metric] for row in inside]) for metric in metrics},
            }
    ranked = ranking(table, protocol)
    return {
        "images": len(rows),
        "problems": table.problems,
        "seconds": mean([row.seconds for row in rows]),
        "metrics": metrics,
        **parts,
        "worst": ranked[:CASES],
        "best": ranked[::-1][:CASES],
    }


def differing(tables: Sequence[Table]) -> list[str]:
    """The metrics that some removers have a value for on images where others, which have the metric, have none."""
    metrics = list(dict.fromkeys(metric for table in tables for row in table.rows.values() for metric in row.values))
    found = []
    for metric in metrics:
        images = [{i for i, value in table.values(metric).items() if not math.isnan(value)} for table in tables]
        if len({frozenset(some) for some in images if some}) > 1:
            found.append(metric)
    return found


def ranking(table: Table, protocol: Protocol) -> list[str]:
    """Images from worst to best by the protocol's first metric; without ground truth, from the least changed."""
    for metric in (*protocol.metrics, *WITHOUT_TRUTH):
        values = {image: row.values.get(metric, math.nan) for image, row in table.rows.items()}
        known = {image: value for image, value in values.items() if not math.isnan(value)}
        if known:
            return sorted(known, key=lambda image: known[image], reverse=lower_is_better(metric, protocol.own))
    return []


def _tests(tables: list[Table], protocol: Protocol) -> list[dict[str, Any]]:
    tests = []
    metrics = next((list(row.values) for table in tables for row in table.rows.values()), [])
    for metric in metrics:
        if metric in WITHOUT_TRUTH or metric in GAINS:  # a gain's difference is that of its metric
            continue
        pairs = []
        for first, second in combinations(tables, 2):
            rows = {**first.rows, **second.rows}
            # The later row is compared with the earlier: the identity is the first of all.
            found = compare(
                second.values(metric),
                first.values(metric),
                {image: row.subset for image, row in rows.items()},
                {image: row.scene or image for image, row in rows.items()},
                protocol.pooling,
            )
            if found["count"]:
                pairs.append({"first": second.label, "second": first.label, "metric": metric, **found})
        for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
            tests.append({**pair, "p_holm": adjusted})
    return tests


def plain(value: Any) -> Any:
    """The value as JSON can hold it, which has no NaN: that becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
