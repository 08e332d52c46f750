"""The table of what removers gain over the identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crrn.evaluation.gains import GAINS
from crrn.evaluation.labels import NOTHING, arrow, metric_label, with_interval
from crrn.evaluation.marks import best_cells, unmarked
from crrn.evaluation.tables import Grid, all_columns
from crrn.metrics.gain import HARM_PSNR, HARM_SSIM

MEANING = (
    "Mean over images of the value minus that of the input. Matched: after both have the gain and the offset of each "
    "channel that bring them nearest to the ground truth. It shows the separation alone; the plain gain also rewards a "
    "better brightness."
)
HARM_RATE = (
    f"Harm rate: share of images with PSNR lower by more than {HARM_PSNR:g} dB or SSIM by more than {HARM_SSIM:g}."
)


def gain_grid(result: Mapping[str, Any]) -> Grid | None:
    """What each remover gains over the identity, and how often it harms; None where there is no truth to gain on."""
    metrics = [metric for metric in all_columns(result) if metric in GAINS]
    removers = {label: e for label, e in result["removers"].items() if e["metrics"].keys() & set(metrics)}
    if not removers:
        return None
    rows = [
        [label, *(with_interval(m, entry["metrics"].get(m, NOTHING)) for m in metrics), str(entry["images"])]
        for label, entry in removers.items()
    ]
    title = f"{result['benchmark']}, protocol {result['protocol']}: gain over the identity"
    head = ["", *(f"{metric_label(metric)} {arrow(metric)}" for metric in metrics), "images"]
    notes = [MEANING, HARM_RATE, *unmarked(result, metrics)]
    return Grid(title, head, rows, best_cells({**result, "removers": removers}, metrics, 1), notes)
