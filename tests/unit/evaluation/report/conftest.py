"""Finished evaluations and runs, written by hand: what the commands leave, in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crrn.evaluation.gains import gains_of
from crrn.evaluation.methods import file_name
from crrn.evaluation.runner import open_scores
from crrn.evaluation.store import Row
from crrn.metrics import Protocol, named_protocol
from crrn.metrics.protocols import MATCHED

SESSION = {
    "started": "2026-01-01T00:00:00+00:00",
    "command": ["eval.py", "name=x", "removers=[lb14,runs/ours]"],
    "git": {"commit": "0123456789abcdef", "dirty": True},
    "python": "3.12.0",
    "machine": "Linux x86_64, 2 cores",
    "versions": {"torch": "2.15.0"},
}
REMOVERS = {"identity": "identity", "lb14": "lb14", "ours": "runs/ours"}
MakeEvaluation = Callable[..., Path]


@pytest.fixture
def make_evaluation(tmp_path: Path) -> MakeEvaluation:
    """Writes evaluations/NAME; every metric of an image is drawn at random, the same for the same name."""

    def make(
        name: str = "first",
        benchmark: str = "sir2",
        subsets: Sequence[str] = ("postcard", "wildscene"),
        removers: dict[str, Any] = REMOVERS,
        protocols: Sequence[str] = ("native", "errnet"),
        truth: bool = True,
        masks: bool = False,
        images: int = 3,
    ) -> Path:
        folder, rng = tmp_path / "evaluations" / name, np.random.default_rng(len(name))
        recipes = [named_protocol(protocol) for protocol in protocols]
        names = [(f"{subset}/{n}", subset) for subset in subsets for n in range(images)]
        layers = {"background": truth, "reflection": truth, "mask": masks}
        record = {
            "benchmarks": {
                benchmark: {
                    "images": len(names),
                    "scenes": len(names),
                    "subsets": dict.fromkeys(subsets, images),
                    "layers": {"mixture": len(names), **{role: len(names) * has for role, has in layers.items()}},
                    "published": {"wildscene": [55, 100, 101]},
                    "fingerprint": "f" * 16,
                    "problems": [],
                    "notes": [],
                }
            },
            "protocols": {
                p.name: {"recipe": p.recipe(), "digest": p.digest(), "describe": p.describe()} for p in recipes
            },
            "removers": {label: {"name": remover, "digest": "d"} for label, remover in removers.items()},
            "perceptual": [],
            "settings": {"name": name},
            "device": "cpu, 1 threads",
            "sessions": [SESSION],
        }
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(json.dumps(record))
        for protocol in recipes:
            identity: dict[str, dict[str, float]] = {}
            for label, remover in removers.items():
                scores = open_scores(folder, benchmark, protocol, label, [])
                for image, subset in names:
                    values = draw(protocol, truth, rng)
                    if remover == "identity":
                        identity[image] = values
                    else:
                        values |= gains_of(values, identity[image])
                    scores.add(Row(image, subset, {}, 40, 60, 0.5, values))
        write_cases(folder / "cases" / benchmark, names, list(removers), truth, rng)
        return folder

    return make


def draw(protocol: Protocol, truth: bool, rng: np.random.Generator) -> dict[str, float]:
    """One image's numbers."""
    if not truth:
        return {"change": rng.uniform(0, 0.2)}
    metrics = [*protocol.metrics, *MATCHED]
    return {metric: rng.uniform(10, 30) if "psnr" in metric else rng.uniform(0.5, 1) for metric in metrics}


def write_cases(
    folder: Path, names: list[tuple[str, str]], labels: list[str], truth: bool, rng: np.random.Generator
) -> None:
    """Three cases with noise for pictures."""
    listed = []
    for (image, _), kind in zip(names, ("worst", "median", "best"), strict=False):
        for label in ["mixture", *labels, *(["background"] if truth else [])]:
            path = folder / image / f"{file_name(label)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
        scores = {label: {"psnr": 20.0 + n, "ssim": 0.8} for n, label in enumerate(labels)} if truth else {}
        listed.append({"case": image, "kind": kind, "protocol": "native", "scores": scores})
    (folder / "cases.json").write_text(json.dumps(listed))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes runs/NAME of one stage."""

    def make(name: str = "ours", ablation: str = "none", finished: bool = True) -> Path:
        folder = tmp_path / "runs" / name
        (folder / "joint" / "panels").mkdir(parents=True)
        architecture = "iin" if ablation == "iin_only" else "crrn"
        config = {
            "net": {"architecture": architecture, "width": 0.25},
            "data": {"batches": {"samples_per_epoch": 10, "batch_size": 2}},
            "stages": {"order": ["joint"], "joint": {"epochs": 2}},
            "ablation": ablation,
        }
        session = {**SESSION, "command": ["train.py", f"name={name}"]}
        (folder / "run.json").write_text(json.dumps({"config": config, "sessions": [session]}))
        rows = ["step,train/loss,val/background_ssim,val/identity_background_ssim", "5,1.5,,", "10,0.5,0.8,0.7"]
        (folder / "joint" / "metrics.csv").write_text("\n".join([*rows, ""]))
        Image.new("RGB", (200, 50), "red").save(folder / "joint" / "panels" / "panel-epoch0002.png")
        metrics = {"val/background_ssim": 0.8, "val/identity_background_ssim": 0.7}
        if finished:
            (folder / "summary.json").write_text(json.dumps(metrics))
        return folder

    return make
