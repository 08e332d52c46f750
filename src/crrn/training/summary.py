"""The table at the end of a run, on screen and in the run directory: the network's metrics beside the identity's."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from rich.table import Table

from crrn.files import write_atomically
from crrn.metrics.gain import HARM_RATE
from crrn.screen import console
from crrn.training.counters import PREFIX
from crrn.training.curves import CURVES
from crrn.training.rundir import WEIGHTS, RunDirectory
from crrn.training.validation import SETS

COLUMNS = (("SSIM", "ssim", ".4f"), ("SI", "si", ".4f"), ("PSNR (dB)", "psnr", ".2f"))
ROWS = (
    ("Background, identity (output = input)", "identity_background"),
    ("Background, estimated", "background"),
    ("Reflection, estimated", "reflection"),
    ("Gradient of B, identity (gradient of the input)", "identity_gradient"),
    ("Gradient of B, estimated", "gradient"),
)
GAIN_ROWS = (("Gain", "gain"), ("Gain after colour match", "matched_gain"))
HEADINGS = dict(zip(SETS, ("Held-out mixtures", "Held-out pairs"), strict=True))


def summary_rows(metrics: Mapping[str, float], prefix: str = SETS[0]) -> list[list[str]]:
    """The table's rows for one validation set: a layer and its metrics. The gains over the identity follow the row of
    the estimated background.
    """
    rows = []
    for label, row in ROWS:
        if f"{prefix}/{row}_ssim" in metrics:
            rows.append([label, *(format(metrics[f"{prefix}/{row}_{key}"], form) for _, key, form in COLUMNS)])
        if row == "background":
            for gain_label, gain in GAIN_ROWS:
                names = [(f"{prefix}/{gain}_{key}", form) for _, key, form in COLUMNS]
                if names[0][0] in metrics:
                    rows.append(
                        [
                            gain_label,
                            *(format(metrics[name], "+" + form) if name in metrics else "" for name, form in names),
                        ]
                    )
    return rows


def harm_line(metrics: Mapping[str, float], prefix: str) -> str | None:
    """The share of the images that became worse, as a sentence; None if it is not known."""
    rate = metrics.get(f"{prefix}/{HARM_RATE}")
    return None if rate is None else f"Harm rate: {rate:.1%} of the images became worse than their input."


def speed_lines(folder: Path, stages: Sequence[str]) -> list[str]:
    """The speed of each stage and its use of the machine, as a sentence: medians over the rows of metrics.csv."""
    lines = []
    for stage in stages:
        path = folder / stage / CURVES
        if not path.exists():
            continue
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        values = {
            name.removeprefix(PREFIX): [float(row[name]) for row in rows if row[name]]
            for name in (rows[0] if rows else ())
            if name.startswith(PREFIX)
        }
        middle = {name: median(column) for name, column in values.items() if column}
        if "samples_per_second" in middle:
            parts = [f"{middle['samples_per_second']:,.1f} samples/s"]
            if "peak_share" in middle:
                parts.append(f"{middle['peak_share']:.1%} of what a matrix product reaches on the GPU")
            parts.append(f"{max(values['memory_gb']):.2f} GB at most")
            parts.append(f"{middle['waiting_share']:.1%} of the time waiting for input")
            lines.append(f"Speed of {stage}: {', '.join(parts)}.")
    return lines


def write_summary(run: RunDirectory, metrics: Mapping[str, float], title: str, stages: Sequence[str] = ()) -> None:
    """Prints the tables and writes ``summary.md`` and ``summary.json``.

    Args:
        run: the run's directory.
        metrics: of the run's result.
        title: of the tables.
        stages: that were trained.
    """
    lines = [f"# {title}"]
    screen = console()
    for prefix in SETS:
        rows, harm = summary_rows(metrics, prefix), harm_line(metrics, prefix)
        if not rows:
            continue
        head = [HEADINGS[prefix], *(label for label, _, _ in COLUMNS)]
        lines += ["", "| " + " | ".join(head) + " |", "|---|---:|---:|---:|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        lines += ["", harm] if harm else []
        table = Table(title=title, caption=harm)
        for number, label in enumerate(head):
            table.add_column(label, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row, style="bold" if row[0] == GAIN_ROWS[0][0] else None)
        screen.print(table)
    speed = speed_lines(run.path, stages)
    lines += [text for line in speed for text in ("", line)]
    with write_atomically(run.path / "summary.md", "w") as file:
        file.write("\n".join(lines) + "\n")
    with write_atomically(run.path / "summary.json", "w") as file:
        json.dump(dict(metrics), file, indent=2)
    panels = sorted(run.path.glob("*/panels/*.png"), key=lambda path: path.stat().st_mtime)
    if panels:
        screen.print(f"Panel:   {panels[-1]}")
    for line in speed:
        screen.print(line)
    screen.print(f"Weights: {run.path / WEIGHTS}")
