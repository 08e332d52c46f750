"""Table 2 of the paper beside ours: means over seeds and scenes. experiments/table2.sh calls it.

    python experiments/table2.py EVALUATION SWEEP OUTPUT

EVALUATION holds removers labelled ABLATION_SEED, measured on SIR2's wild scenes by protocol crrn; SWEEP the runs.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from crrn.evaluation.report.paper import ABLATION_ROWS, TABLE_2
from crrn.evaluation.runner import open_scores
from crrn.evaluation.store import ImageScores
from crrn.metrics import named_protocol

METRICS = ("ssim", "si", "ssim_r", "si_r", "psnr", "gain_psnr", "matched_gain_psnr", "harm_rate")
SEEDS = (1, 2, 3)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean of (seeds, scenes), scenes without a value left out, and half of its 95 % interval.

    Seeds and scenes are both samples: the variance of the mean is that of the seeds' means / seeds plus that of the
    scenes' means / scenes (what both share is counted twice, so the interval is a little wide), with the degrees of
    freedom of Welch and Satterthwaite.
    """
    values = values[:, ~np.isnan(values).any(0)]
    if not values.size:
        return math.nan, math.nan
    parts = [(values.mean(1 - axis).var(ddof=1) / n, n) for axis, n in enumerate(values.shape) if n > 1]
    variance = sum(part for part, _ in parts)
    if not variance:
        return float(values.mean()), 0.0
    freedom = variance**2 / sum(part**2 / (n - 1) for part, n in parts)
    return float(values.mean()), float(stats.t.ppf(0.975, freedom) * math.sqrt(variance))


def main() -> None:
    evaluation, sweep, output = (Path(argument) for argument in sys.argv[1:4])
    protocol = named_protocol("crrn")
    values: dict[str, NDArray[np.float64]] = {}  # (seeds, scenes, metrics)
    for ablation in ("identity", *ABLATION_ROWS):
        names = ["identity"] if ablation == "identity" else [f"{ablation}_{seed}" for seed in SEEDS]
        found = [scores(open_scores(evaluation, "sir2", protocol, name, perceptual=())) for name in names]
        if any(one.keys() != found[0].keys() for one in found):
            sys.exit(f"error: the seeds of {ablation} were measured on different images: finish {evaluation} first.")
        values[ablation] = np.array([list(one.values()) for one in found])
    for ablation in ("l1_only", "iin_only"):
        values[f"none - {ablation}"] = values["none"] - values[ablation]
    values["identity"][..., METRICS.index("gain_psnr") :] = 0
    rows = {name: {m: interval(of[..., n]) for n, m in enumerate(METRICS)} for name, of in values.items()}
    gradient = {
        ablation: interval(np.array([[gradient_si(sweep, ablation, seed)] for seed in SEEDS]))
        for ablation in ("none", "gin_only")
    }
    paper = {ablation: TABLE_2.rows[names[-1]] for ablation, names in ABLATION_ROWS.items()}
    output.mkdir(parents=True, exist_ok=True)
    record = {"rows": rows, "paper": paper, "gradient_si": gradient, "images": len(found[0]), "seeds": SEEDS}
    (output / "metrics.json").write_text(json.dumps(record, indent=2) + "\n")
    (output / "README.md").write_text(page(record))


def scores(table: ImageScores) -> dict[str, list[float]]:
    """`METRICS` by image, in order of the images' names; NaN where there is none, as of an empty mask."""
    found = {row.image: [row.values.get(metric, math.nan) for metric in METRICS] for row in table.rows()}
    return dict(sorted(found.items()))


def gradient_si(sweep: Path, ablation: str, seed: int) -> float:
    """SI of the gradient in a run's last validation, on held-out mixtures."""
    found = json.loads((sweep / f"ablation={ablation},seed={seed}" / "summary.json").read_text())
    return float(found["val/gradient_si"])


def page(record: dict[str, Any]) -> str:
    """The experiment's README."""
    rows, paper = record["rows"], record["paper"]
    head = ("", "SSIM", "SI", "SSIMr", "SIr", "PSNR (dB)", "PSNR gain (dB)", "matched gain (dB)", "harm rate")
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, of in rows.items():
        sign = "+" if " - " in name else ""
        cells = [f"{mean:{sign}.4f} ± {half:.4f}" for mean, half in (of[metric] for metric in METRICS[:4])]
        cells += [f"{mean:{sign}.2f} ± {half:.2f}" for mean, half in [of["psnr"]]]
        cells += [f"{mean:+.2f} ± {half:.2f}" for mean, half in (of["gain_psnr"], of["matched_gain_psnr"])]
        lines.append(f"| {name} | " + " | ".join([*cells, f"{of['harm_rate'][0]:{sign}.0%}"]) + " |")
        if name in paper:
            lines.append(f"| the paper, {name} | " + " | ".join(f"{value:.3f}" for value in paper[name]) + " | | | | |")
    order = sorted(paper, key=lambda name: -rows[name]["ssim"][0])
    published = sorted(paper, key=lambda name: -paper[name][0])
    gradient = ", ".join(f"{name} {mean:.4f} ± {half:.4f}" for name, (mean, half) in record["gradient_si"].items())
    return f"""# Does CRRN's design help? Table 2 at a size for CPUs

Means over {record["images"]} wild scenes of SIR2 and {len(record["seeds"])} seeds, protocol `crrn`, beside the paper's.
± is half of a 95 % interval over seeds and scenes. The last two rows are differences of the same scenes and seeds.

{chr(10).join(lines)}

- Order by SSIM here: {", ".join(order)}. In the paper: {", ".join(published)}.
- SI of the gradient on held-out mixtures: {gradient} (Figure 6 of the paper).
- SSIMr and SIr are under masks derived from the reflection layer: the paper's are not public.
- The networks have width 0.125 and saw 1,200 mixtures in stage `gin` and 3,600 in stage `joint`. The paper's have
  width 1 and saw 1.8 million. This compares designs after minutes of training; it does not
  reproduce the paper's figures.

```sh
experiments/table2.sh BACKGROUNDS REFLECTIONS SIR2
```
"""


if __name__ == "__main__":
    main()
