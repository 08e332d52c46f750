"""The paper's Tables 1 and 2, and an evaluation's numbers beside them.

Both hold means over the 100 wild scenes of SIR2. The paper does not say at which size the images were measured, and its
masks of SSIMr and SIr are not public.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crrn.errors import ConfigError
from crrn.evaluation.labels import LABELS
from crrn.evaluation.report.sources import Evaluated
from crrn.evaluation.tables import Grid
from crrn.metrics.masks import DERIVED
from crrn.nets.record import TARGET, upgraded
from crrn.records import read_json

METRICS = ("ssim", "si", "ssim_r", "si_r")
BENCHMARK, SUBSET, IMAGES = "sir2", "wildscene", 100


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables: values of `METRICS`, by row."""

    title: str
    rows: Mapping[str, tuple[float, float, float, float]]


TABLE_1 = PaperTable(
    "Table 1",
    {
        "CRRN": (0.895, 0.925, 0.861, 0.890),
        "FY17": (0.867, 0.902, 0.812, 0.847),
        "NR17": (0.884, 0.903, 0.850, 0.880),
        "WS16": (0.876, 0.910, 0.843, 0.881),
        "LB14": (0.833, 0.920, 0.801, 0.861),
    },
)
TABLE_2 = PaperTable(
    "Table 2",
    {
        "IiN in CRRN": (0.895, 0.925, 0.861, 0.890),
        "IiN in CRRN (L1)": (0.883, 0.910, 0.849, 0.865),
        "IiN only": (0.867, 0.892, 0.843, 0.859),
    },
)
TABLES = (TABLE_1, TABLE_2)

SOLVER_ROWS = {"lb14": ("LB14",), "nr17": ("NR17",), "ws16": ("WS16",)}
ABLATION_ROWS = {
    "none": ("CRRN", "IiN in CRRN"),
    "l1_only": ("IiN in CRRN (L1)",),
    "iin_only": ("IiN only",),
}


def paper_rows(name: Any) -> tuple[str, ...]:
    """The rows of the paper's tables that a remover stands beside: a solver by its name, a run directory by its
    ablation; anything else has none unless the user says so.
    """
    if isinstance(name, Mapping):
        return SOLVER_ROWS.get(str(name.get("name")), ())
    if str(name) in SOLVER_ROWS:
        return SOLVER_ROWS[str(name)]
    path = Path(str(name))
    for folder in (path, path.parent, path.parent.parent):
        if (folder / "run.json").is_file():
            config = read_json(folder / "run.json", {"config": {"net": dict, "ablation": str}})["config"]
            if upgraded(config["net"]).get(TARGET) in ("crrn.nets.CRRN", "crrn.nets.IiN"):
                return ABLATION_ROWS.get(config["ablation"], ())
    return ()


def check_rows(given: Mapping[str, Any], labels: set[str]) -> dict[str, tuple[str, ...]]:
    """The user's LABEL -> row of the paper, checked.

    Raises:
        ConfigError: no remover has the label, or no table the row.
    """
    known = [row for table in TABLES for row in table.rows]
    for label, row in given.items():
        if label not in labels:
            raise ConfigError(f"paper.{label}: no remover is called so; there are {', '.join(sorted(labels))}.")
        if row not in known:
            raise ConfigError(f"paper.{label}={row}: the paper has no such row; choose from {', '.join(known)}.")
    return {label: (str(row),) for label, row in given.items()}


def beside(
    evaluated: Evaluated, rows: Mapping[str, tuple[str, ...]], about: Mapping[str, str]
) -> list[tuple[Grid, list[dict[str, Any]]]]:
    """The paper's tables with an evaluation's numbers under each of their rows, and the same as plain values.

    A difference, ours - paper, is given where benchmark and metric are the same: on the wild scenes of SIR2, under
    protocols with the paper's SSIM and SI, and for SSIMr and SIr only under masks from a folder. On any other benchmark
    the first such protocol's numbers stand beside the paper's without a difference. Table 2 is left out where no
    ablation was evaluated.

    Args:
        rows: remover -> its rows of the paper, where they are not as of `paper_rows`.
        about: remover -> how it was trained, for the notes.
    """
    found = []
    own = {label: rows.get(label, paper_rows(facts["name"])) for label, facts in evaluated.record["removers"].items()}
    for benchmark in evaluated.record["benchmarks"]:
        same = benchmark == BENCHMARK
        comparable = [
            result
            for result in evaluated.of(benchmark)
            if evaluated.record["protocols"][result["protocol"]]["recipe"]["window"] == "gaussian"
            and all(entry["metrics"].keys() >= {"ssim", "si"} for entry in result["removers"].values())
            and (not same or all(SUBSET in entry["subsets"] for entry in result["removers"].values()))
        ]
        for result in comparable if same else comparable[:1]:
            for table in TABLES:
                ours = [label for label, names in own.items() if set(names) & set(table.rows)]
                ablations = {row for names in own.values() for row in names} & {*TABLE_2.rows} - {"IiN in CRRN"}
                if ours and (table is TABLE_1 or ablations):
                    grid, values = _table(table, result, {label: own[label] for label in ours}, same)
                    grid.notes += [f"{label}: {about[label]}." for label in ours if label in about]
                    found.append((grid, values))
    return found


def _table(
    table: PaperTable, result: Mapping[str, Any], own: Mapping[str, tuple[str, ...]], same: bool
) -> tuple[Grid, list[dict[str, Any]]]:
    grid_rows, values = [], []
    derived = result["masks"] == DERIVED
    images = 0
    for row, published in table.rows.items():
        grid_rows.append([f"{row}, paper", *(f"{value:.3f}" for value in published), str(IMAGES)])
        for label in (label for label, names in own.items() if row in names):
            entry = result["removers"][label]
            means = entry["subsets"][SUBSET] if same else {m: v["mean"] for m, v in entry["metrics"].items()}
            images = means["images"] if same else entry["images"]
            measured = [means.get(metric, math.nan) for metric in METRICS]
            grid_rows.append([f"{row}, here: {label}", *map(_number, measured), str(images)])
            differences = [
                ours - theirs if same and not (derived and metric in ("ssim_r", "si_r")) else math.nan
                for metric, ours, theirs in zip(METRICS, measured, published, strict=True)
            ]
            if same:
                cells = ["–" if math.isnan(value) else f"{value:+.3f}" for value in differences]
                grid_rows.append(["difference, here − paper", *cells, ""])
            values.append(
                {
                    "table": table.title,
                    "row": row,
                    "remover": label,
                    "benchmark": result["benchmark"],
                    "protocol": result["protocol"],
                    "images": images,
                    **{
                        metric: {"paper": theirs, "here": ours, "difference": difference}
                        for metric, theirs, ours, difference in zip(
                            METRICS, published, measured, differences, strict=True
                        )
                    },
                }
            )
    title = f"{result['benchmark']}, protocol {result['protocol']}, beside the paper's {table.title}"
    head = ["", *(f"{LABELS[metric]} ↑" for metric in METRICS), "images"]
    return Grid(title, head, grid_rows, notes=_notes(table, result, same, derived, images)), values


def _notes(table: PaperTable, result: Mapping[str, Any], same: bool, derived: bool, images: int) -> list[str]:
    if not same:
        measured = f"The paper's {table.title} is of the {IMAGES} wild scenes of SIR2, the numbers here are of "
        return [measured + f"{result['benchmark']}: no difference is given, for it would mean nothing."]
    notes = ["The paper does not say at which size it measured: compare the protocols."]
    if images != IMAGES:
        notes.append(f"The paper counts {IMAGES} wild scenes; here there are {images}.")
    if derived:
        notes.append(
            f"SSIMr and SIr have no difference: the paper's masks are not public, and those here are {DERIVED}."
        )
    return notes


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
