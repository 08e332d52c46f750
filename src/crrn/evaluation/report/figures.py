"""Which charts a report has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import count

from crrn.evaluation.labels import digits
from crrn.evaluation.report.charts import Line, Points, Strip, line_chart, smoothed, strip_chart
from crrn.evaluation.report.sources import Curve, Evaluated, Trained

GAINS = {
    "gain_psnr": ("Gain in PSNR over the identity", "dB"),
    "gain_ssim": ("Gain in SSIM over the identity", "SSIM"),
    "matched_gain_psnr": ("Gain in PSNR after colour match", "dB"),
}
"""Title and unit of each chart of images."""
VALIDATION = (
    ("val/background_psnr", "Background, PSNR (dB)", 2),
    ("val/background_ssim", "Background, SSIM", 4),
    ("val/background_si", "Background, SI", 4),
    ("val/matched_gain_psnr", "Background, PSNR gain after colour match (dB)", 2),
    ("val/harm_rate", "Background, harm rate", 3),
    ("val/reflection_ssim", "Reflection, SSIM", 4),
    ("val/gradient_si", "Gradient, SI", 4),
    ("pairs/background_psnr", "Pairs: background, PSNR (dB)", 2),
    ("pairs/matched_gain_psnr", "Pairs: PSNR gain after colour match (dB)", 2),
    ("pairs/harm_rate", "Pairs: harm rate", 3),
)
"""What is logged of a validation, and with `identity_` in its name where the identity has it too."""


def gain_charts(evaluated: Evaluated, benchmark: str) -> list[str]:
    """For each of `GAINS`, each image's gain over the identity, by protocol and remover; none without ground truth."""
    charts = []
    for metric, (title, unit) in GAINS.items():
        groups = []
        for result in evaluated.of(benchmark):
            tables = {table.label: table for table in evaluated.tables[benchmark, result["protocol"]]}
            strips = []
            for number, label in enumerate(others(evaluated)):
                found = result["removers"][label]["metrics"].get(metric)
                if found:
                    values = [(i, value) for i, value in tables[label].values(metric).items() if not math.isnan(value)]
                    strips.append(Strip(label, values, found["mean"], found["low"], found["high"], number))
            if strips:
                groups.append((result["protocol"], strips))
        if groups:
            charts.append(strip_chart(title, f"{unit}, one dot an image", groups, digits(metric)))
    return charts


def others(evaluated: Evaluated) -> list[str]:
    """The removers but the identity; their places are their colours."""
    return [label for label, facts in evaluated.record["removers"].items() if facts["name"] != "identity"]


def training_charts(runs: Sequence[Trained], colours: Mapping[str, int]) -> dict[str, list[str]]:
    """For each stage its loss and its validation metrics, a colour a run; the identity dashed.

    Args:
        colours: by run, where other charts show it too.
    """
    free = (number for number in count() if number not in colours.values())
    coloured = [(colours[run.name] if run.name in colours else next(free), run) for run in runs]
    stages = list(dict.fromkeys(stage for run in runs for stage in run.curves))
    charts: dict[str, list[str]] = {}
    for stage in stages:
        trained = [(number, run) for number, run in coloured if stage in run.curves]
        charts[stage] = []
        lines = []
        for number, run in trained:
            points = column(run.curves[stage], "train/loss")
            lines += [Line("", points, number, "faint"), Line(run.name, smoothed(points), number)]
        if any(line.points for line in lines):
            charts[stage].append(line_chart("Training loss", "optimizer steps", lines))
        for key, title, decimals in VALIDATION:
            lines = []
            references: list[Points] = []
            for number, run in trained:
                lines.append(Line(run.name, column(run.curves[stage], key), number, dots=True))
                reference = column(run.curves[stage], key.replace("/", "/identity_"))
                if reference and [y for _, y in reference] not in [[y for _, y in r] for r in references]:
                    references.append(reference)
            lines += [Line("identity", points, -1, "dashed") for points in references]
            if any(line.points for line in lines):
                charts[stage].append(line_chart(title, "optimizer steps", lines, digits=decimals))
    return {stage: found for stage, found in charts.items() if found}


def column(curve: Curve, key: str) -> list[tuple[float, float]]:
    """(step, value) of the rows that have the column."""
    return [(row["step"], row[key]) for row in curve if key in row and math.isfinite(row[key])]
