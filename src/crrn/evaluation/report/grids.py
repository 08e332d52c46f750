"""The tables of a report that are not one evaluation's own: protocols side by side, benchmarks, runs, environment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from crrn.evaluation.labels import arrow, mean_text, metric_label
from crrn.evaluation.marks import best_cells, unmarked
from crrn.evaluation.report.sources import Evaluated, Trained
from crrn.evaluation.store import WITHOUT_TRUTH
from crrn.evaluation.tables import Grid
from crrn.metrics.gain import HARM_RATE
from crrn.nets.record import describe

OVERVIEW = ("psnr", "ssim", "gain_psnr", "matched_gain_psnr", HARM_RATE, *WITHOUT_TRUTH)
"""What stands side by side for all protocols: what (nearly) every protocol has."""


def overview(evaluated: Evaluated, benchmark: str, heading: str) -> list[Grid]:
    """For each of `OVERVIEW`, a row a protocol and a column a remover: how the numbers of the same removers on the same
    images depend on the way of measuring."""
    results = evaluated.of(benchmark)
    labels = list(results[0]["removers"])
    truth = any("psnr" in entry["metrics"] for result in results for entry in result["removers"].values())
    grids = []
    for metric in OVERVIEW:
        if truth and metric in WITHOUT_TRUTH:
            continue
        rows: list[list[str]] = []
        best: set[tuple[int, int]] = set()
        # The identity gains nothing over itself.
        shown = [label for label in labels if any(metric in result["removers"][label]["metrics"] for result in results)]
        for result in results:
            entries = [result["removers"][label]["metrics"].get(metric) for label in shown]
            if not any(entries):
                continue
            part = {**result, "removers": {label: result["removers"][label] for label in shown}}
            best |= {(len(rows), y + 1) for y, _ in best_cells(part, [metric], 0)}
            cells = ("–" if entry is None else mean_text(metric, entry["mean"]) for entry in entries)
            rows.append([result["protocol"], *cells])
        if rows:
            title = f"{heading}: {metric_label(metric)} {arrow(metric)}".strip()
            said = dict.fromkeys(line for result in results for line in unmarked(result, [metric]))
            grids.append(Grid(title, ["protocol", *shown], rows, best, list(said)))
    return grids


def recipes(evaluations: Sequence[Evaluated]) -> Grid:
    """What each protocol's name stands for."""
    rows = {
        (name, entry["digest"]): [name, entry["describe"], entry["digest"]]
        for evaluated in evaluations
        for name, entry in evaluated.record["protocols"].items()
    }
    note = "Numbers of two protocols must not be compared with each other: they measure different things."
    return Grid("Protocols", ["", "recipe", "digest"], list(rows.values()), notes=[note])


def benchmarks(evaluations: Sequence[Evaluated]) -> Grid:
    """What was measured on: counts beside the published ones, layers, fingerprint."""
    rows: dict[tuple[str, str], list[str]] = {}
    notes: list[str] = []
    for evaluated in evaluations:
        for name, facts in evaluated.record["benchmarks"].items():
            published = "; ".join(f"{s} {' or '.join(map(str, counts))}" for s, counts in facts["published"].items())
            layers = [role for role in ("background", "reflection", "mask") if facts["layers"][role]]
            rows[name, facts["fingerprint"]] = [
                name,
                str(facts["images"]),
                ", ".join(f"{subset} {count}" for subset, count in facts["subsets"].items()),
                published or "–",
                ", ".join(layers) or "none",
                facts["fingerprint"],
            ]
            notes += [f"{name}: {note}." for note in facts["notes"]]
            notes += [f"{name}: left out: {problem['where']}: {problem['what']}." for problem in facts["problems"]]
    head = ["", "images", "subsets", "published counts", "ground truth", "fingerprint"]
    return Grid("Benchmarks", head, list(rows.values()), notes=list(dict.fromkeys(notes)))


def runs_grid(runs: Sequence[Trained]) -> Grid | None:
    """The runs on their held-out mixtures and pairs, beside the identity."""
    columns = [
        (f"{label} {name}", key, digits)
        for label, row in (("B", "background"), ("R", "reflection"), ("gradient", "gradient"))
        for name, key, digits in (
            ("SSIM", f"val/{row}_ssim", 4),
            ("SI", f"val/{row}_si", 4),
            ("PSNR (dB)", f"val/{row}_psnr", 2),
        )
        if (label, name) not in (("R", "SI"), ("gradient", "PSNR (dB)"), ("gradient", "SSIM"))
    ]
    for pairs, prefix in (("", "val"), ("pairs: ", "pairs")):
        columns += [(f"{pairs}B PSNR (dB)", f"{prefix}/background_psnr", 2)] if pairs else []
        columns += [
            (f"{pairs}PSNR gain (dB)", f"{prefix}/gain_psnr", 2),
            (f"{pairs}matched PSNR gain (dB)", f"{prefix}/matched_gain_psnr", 2),
            (f"{pairs}harm rate", f"{prefix}/harm_rate", 3),
        ]
    columns = [column for column in columns if any(column[1] in run.metrics for run in runs)]
    if not runs or not columns:
        return None
    rows = []
    for run in runs:
        identity = {key.replace("identity_", ""): value for key, value in run.metrics.items() if "identity_" in key}
        for label, metrics in ((run.name, run.metrics), (f"{run.name}: identity", identity)):
            rows.append([label, *(_number(metrics.get(key, math.nan), digits) for _, key, digits in columns)])
    notes = [f"{run.name}: {describe_run(run)}." for run in runs]
    return Grid("Runs, on held-out mixtures and pairs", ["", *(label for label, _, _ in columns)], rows, notes=notes)


def describe_run(run: Trained) -> str:
    """Network, schedule and data of a run in one line."""
    config, data = run.record["config"], run.record.get("data", {})
    batches = config["data"]["batches"]
    stages = ", ".join(f"{stage} {config['stages'][stage]['epochs']} epochs" for stage in config["stages"]["order"])
    parts = [
        describe(config["net"]),
        f"ablation {config['ablation']}" if config["ablation"] != "none" else "",
        ", ".join(f"{part} begins with given weights" for part in run.record.get("init") or ()),
        f"{stages} of {batches['samples_per_epoch']} samples, batches of {batches['batch_size']}",
        *(
            f"{role}s: {data[role]['training']} photos, and {data[role]['held_out']} held out"
            for role in ("background", "reflection")
            if role in data
        ),
        f"fingerprint {data['fingerprint']}" if "fingerprint" in data else "",
    ]
    return "; ".join(part for part in parts if part)


def environment(evaluations: Sequence[Evaluated], runs: Sequence[Trained]) -> Grid:
    """With what everything was made: the last session of each evaluation and run."""
    sources: list[tuple[str, dict[str, Any], str]] = [
        (f"evaluation {e.name}", e.record["sessions"][-1], e.record["device"]) for e in evaluations
    ]
    sources += [(f"run {run.name}", run.record["sessions"][-1], "") for run in runs]
    packages = list(dict.fromkeys(name for _, session, _ in sources for name in session["versions"]))
    rows = [
        ["started", *(session["started"] for _, session, _ in sources)],
        ["sessions", *(str(len(e.record["sessions"])) for e in evaluations), *(_sessions(run) for run in runs)],
        ["commit", *(_commit(session["git"]) for _, session, _ in sources)],
        ["machine", *(", ".join(filter(None, (session["machine"], device))) for _, session, device in sources)],
        ["Python", *(session["python"] for _, session, _ in sources)],
        *([name, *(session["versions"].get(name, "–") for _, session, _ in sources)] for name in packages),
    ]
    return Grid("Environment", ["", *(name for name, _, _ in sources)], rows)


def _sessions(run: Trained) -> str:
    return str(len(run.record["sessions"]))


def _commit(git: dict[str, Any]) -> str:
    if not git.get("commit"):
        return "installed package"
    return git["commit"][:10] + (", with uncommitted changes" if git.get("dirty") else "")


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
