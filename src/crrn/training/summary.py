"""The table at the end of a run: what the network gained over the identity, on screen and in the run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rich.table import Table

from crrn.files import write_atomically
from crrn.screen import console
from crrn.training.rundir import WEIGHTS, RunDirectory

COLUMNS = (("SSIM", "ssim", ".4f"), ("SI", "si", ".4f"), ("PSNR (dB)", "psnr", ".2f"))
ROWS = (
    ("Background, identity (output = input)", "identity_background"),
    ("Background, estimated", "background"),
    ("Reflection, estimated", "reflection"),
    ("Gradient of B, identity (gradient of the input)", "identity_gradient"),
    ("Gradient of B, estimated", "gradient"),
)


def summary_rows(metrics: Mapping[str, float]) -> list[list[str]]:
    """The table's rows: layer, then its metrics; the estimated background's row is followed by its gain over the
    identity.
    """
    rows = []
    for label, row in ROWS:
        if f"val/{row}_ssim" in metrics:
            rows.append([label, *(format(metrics[f"val/{row}_{key}"], form) for _, key, form in COLUMNS)])
        if row == "background" and f"val/{row}_ssim" in metrics:
            gains = [metrics[f"val/{row}_{key}"] - metrics[f"val/identity_{row}_{key}"] for _, key, _ in COLUMNS]
            rows.append(
                ["Gain", *(format(gain, "+" + form) for gain, (_, _, form) in zip(gains, COLUMNS, strict=True))]
            )
    return rows


def write_summary(run: RunDirectory, metrics: Mapping[str, float], title: str) -> None:
    """Prints the table and writes ``summary.md`` and ``summary.json``."""
    head = ["Held-out mixtures", *(label for label, _, _ in COLUMNS)]
    rows = summary_rows(metrics)
    lines = [f"# {title}", "", "| " + " | ".join(head) + " |", "|---|---:|---:|---:|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    with write_atomically(run.path / "summary.md", "w") as file:
        file.write("\n".join(lines) + "\n")
    with write_atomically(run.path / "summary.json", "w") as file:
        json.dump(dict(metrics), file, indent=2)

    table = Table(title=title)
    for number, label in enumerate(head):
        table.add_column(label, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row, style="bold" if row[0] == "Gain" else None)
    screen = console()
    screen.print(table)
    panels = sorted(run.path.glob("*/panels/*.png"), key=lambda path: path.stat().st_mtime)
    if panels:
        screen.print(f"Panel:   {panels[-1]}")
    screen.print(f"Weights: {run.path / WEIGHTS}")
