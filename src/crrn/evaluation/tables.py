"""The tables of an evaluation, as text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from crrn.evaluation.gains import COMPARED
from crrn.evaluation.labels import (
    NOTHING,
    PARTS,
    arrow,
    counted,
    digits,
    mean_text,
    metric_label,
    p_value,
    with_interval,
)
from crrn.evaluation.marks import best_cells, unmarked
from crrn.evaluation.store import WITHOUT_TRUTH
from crrn.metrics.own import Own
from crrn.metrics.protocols import PERCEPTUAL, Protocol
from crrn.nets import Prediction

NUMBER = re.compile(r"(< )?[+−-]?[\d.,]+( ± [\d.]+)?|\[[-+−\d., –]*\]|–|")
"""What a cell of a column of numbers holds; nothing and a dash are no obstacle."""

REASONS = 3
"""How many failed images of a method the notes quote."""


@dataclass
class Grid:
    """A table of text.

    Attributes:
        title: what it shows.
        head: the columns; the first one's cells are the rows' names.
        rows: the cells.
        best: (row, column) of the cells that are best in their column.
        notes: what a reader must know to cite it.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def numeric(self) -> list[bool]:
        """Which columns hold numbers alone, and are to be aligned right; the first one holds names."""
        numbers = [all(NUMBER.fullmatch(row[x]) for row in self.rows) for x in range(len(self.head))]
        return [number and x > 0 for x, number in enumerate(numbers)]

    def markdown(self) -> str:
        """GitHub's Markdown."""
        rule = "".join("---:|" if number else "---|" for number in self.numeric())
        lines = [f"**{self.title}**", "", "| " + " | ".join(self.head) + " |", f"|{rule}"]
        for y, row in enumerate(self.rows):
            cells = (f"**{cell}**" if (y, x) in self.best else cell for x, cell in enumerate(row))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join([*lines, "", *(f"{note}  " for note in self.notes)]).rstrip() + "\n"


def result_grid(result: Mapping[str, Any], record: Mapping[str, Any]) -> Grid:
    """The main table of one benchmark under one protocol: all removers, means with half-widths of their 95 %
    intervals."""
    removers = result["removers"]
    metrics, own = columns(result), result["own"]
    head = [
        "",
        "working size",
        *(f"{metric_label(metric, own)} {arrow(metric, own)}".strip() for metric in metrics),
        "s / image",
        "images",
    ]
    rows = []
    for label, entry in removers.items():
        cells = [label, working_size(label, result["protocol"], record)]
        for metric in metrics:
            cells.append(with_interval(metric, entry["metrics"].get(metric, NOTHING), own))
        rows.append([*cells, _number(entry["seconds"], 3), str(entry["images"])])
    title = f"{result['benchmark']}, protocol {result['protocol']}"
    return Grid(title, head, rows, best_cells(result, metrics, 2), notes(result, record))


def working_size(label: str, protocol: str, record: Mapping[str, Any]) -> str:
    """The size at which a remover saw the images: the protocol's, the short side of its copy in pixels, or native."""
    recipe = Protocol(name=protocol, **record["protocols"][protocol]["recipe"])
    prediction = record["removers"][label].get("prediction", Prediction().record())
    if prediction is None:
        return "–"  # another tool's outputs
    side = recipe.resize if recipe.fixed_size else prediction["working_size"] or "native"
    return f"{side}" if prediction["strength"] == 100 else f"{side}, strength {prediction['strength']:g}"


def notes(result: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """What has to be said with the numbers: counts, fingerprint, recipe, masks, what was left out."""
    facts = record["benchmarks"][result["benchmark"]]
    subsets = ", ".join(f"{name} {count}" for name, count in facts["subsets"].items())
    lines = [
        f"{counted(facts['images'], 'image')} ({subsets}), fingerprint {result['fingerprint']}.",
        *_scenes(facts),
        f"Protocol {result['protocol']} ({result['recipe']}): {record['protocols'][result['protocol']]['describe']}.",
    ]
    metrics = set(columns(result))
    if metrics & {"ssim_r", "si_r"}:
        lines.append(f"Masks of SSIMr and SIr: {result['masks']}.")
    scored = metrics - set(WITHOUT_TRUTH)
    if metrics and not scored:
        lines.append(
            "No ground truth: Change is the mean |B − I|, Residual the mean |I − B − R|; neither is a quality."
        )
    skipped: Counter[str] = Counter()
    for entry in result["removers"].values():
        skipped |= Counter(
            {metric: value["skipped"] for metric, value in entry["metrics"].items() if metric in metrics}
        )
    regional = max((count for metric, count in skipped.items() if metric.endswith("_r")), default=0)
    if regional:
        lines.append(f"Images without a reflection-dominant region, left out of SSIMr and SIr: {regional}.")
    lines += [
        f"Images that are flat or too small for {metric_label(metric, result['own'])}, left out of its mean: {count}."
        for metric, count in sorted(skipped.items())
        if not metric.endswith("_r") and metric not in WITHOUT_TRUTH
    ]
    missing = [
        metric
        for metric in record["protocols"][result["protocol"]]["recipe"]["metrics"]
        if metric in PERCEPTUAL and metric not in {*metrics, *record["perceptual"]}
    ]
    if missing and scored:
        lines.append(
            f"{' and '.join(metric_label(metric) for metric in missing)} left out: no backbone weights were given."
        )
    if facts["problems"]:
        lines.append(
            f"{counted(len(facts['problems']), 'problem')} with the data; the first: {facts['problems'][0]['where']}: "
            f"{facts['problems'][0]['what']}."
        )
    for label, entry in result["removers"].items():
        if entry["problems"]:
            first = [f"{image} ({reason.rstrip('.')})" for image, reason in islice(entry["problems"].items(), REASONS)]
            lines.append(
                f"{label}: {counted(len(entry['problems']), 'image')} could not be evaluated, left out of all means: "
                f"{', '.join(first)}{', ...' * (len(entry['problems']) > REASONS)}."
            )
    return lines + unmarked(result, columns(result))


def _scenes(facts: Mapping[str, Any]) -> list[str]:
    """What intervals are of, where images share scenes."""
    if facts["scenes"] == facts["images"]:
        return []
    why = "images of one scene are not independent"
    return [f"{counted(facts['scenes'], 'scene')}: intervals and paired tests are over scenes, as {why}."]


def part_grid(result: Mapping[str, Any], kind: str) -> Grid | None:
    """Means of each subset or category, a row for each with each remover; None where there is but one."""
    metrics = [metric for metric in all_columns(result) if metric in PARTS or metric not in (*WITHOUT_TRUTH, *COMPARED)]
    own = result["own"]
    names = sorted({name for entry in result["removers"].values() for name in entry[kind]})
    if len(names) < 2 or not metrics:
        return None
    rows = [
        [
            name,
            label,
            str(entry[kind][name]["images"]),
            *(mean_text(metric, entry[kind][name].get(metric, math.nan), own) for metric in metrics),
        ]
        for name in names
        for label, entry in result["removers"].items()
        if name in entry[kind]
    ]
    if kind == "subsets":
        for label, entry in result["removers"].items():
            means = [[part.get(metric, math.nan) for part in entry[kind].values()] for metric in metrics]
            cells = [mean_text(metric, sum(m) / len(m), own) for metric, m in zip(metrics, means, strict=True)]
            rows.append(["mean of subsets", label, str(entry["images"]), *cells])
    title = f"{result['benchmark']}, protocol {result['protocol']}: {'subsets' if kind == 'subsets' else 'categories'}"
    return Grid(title, ["", "remover", "images", *(metric_label(metric, own) for metric in metrics)], rows)


def pair_grid(result: Mapping[str, Any]) -> Grid | None:
    """Paired differences between removers; None where there is no pair."""
    if not result["tests"]:
        return None
    own = result["own"]
    rows = [
        [
            f"{test['first']} − {test['second']}",
            metric_label(test["metric"], own),
            _signed(test["difference"], test["metric"], own),
            f"[{_signed(test['low'], test['metric'], own)}, {_signed(test['high'], test['metric'], own)}]",
            p_value(test["p_holm"]),
            str(test["count"]),
        ]
        for test in result["tests"]
    ]
    note = (
        "Mean paired difference with its 95 % bootstrap interval; p of the two-sided Wilcoxon signed-rank test of the "
        "scenes' means, Holm-adjusted over the pairs."
    )
    return Grid(
        f"{result['benchmark']}, protocol {result['protocol']}: paired differences",
        ["", "metric", "difference", "95 % interval", "p", "images"],
        rows,
        notes=[note],
    )


def columns(result: Mapping[str, Any]) -> list[str]:
    """The protocol's metrics that any remover has a value for, in its order."""
    return [metric for metric in all_columns(result) if metric not in COMPARED]


def all_columns(result: Mapping[str, Any]) -> list[str]:
    """All that any remover has a value for, the gains included."""
    return list(dict.fromkeys(metric for entry in result["removers"].values() for metric in entry["metrics"]))


def _signed(value: float, metric: str, own: Own) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:+.{digits(metric, own)}f}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def markdown(grids: Sequence[Grid | None]) -> str:
    """Several tables, one below the other."""
    return "\n".join(grid.markdown() for grid in grids if grid is not None)
