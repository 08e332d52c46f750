"""The best weights of trainings that run, as files that are small enough to carry away.

    python experiments/gpu/export.py OUT STOP PRECISION MEGABYTES RUN...

Whenever a RUN (a run directory) has a better best.ckpt, its weights are written to OUT, the file is read back and
evaluated on the run's own held-out photos and pairs, and then the run's older file goes. It ends when the file STOP
exists and nothing is left to write. Of each run, OUT holds

    NAME-sSTEP.safetensors       or, above so many MEGABYTES, NAME-sSTEP.safetensors.part-00, -01, ...
    NAME-sSTEP.json              digest, sizes, the metrics of the checkpoint and those of the file
    NAME.csv NAME.json NAME.png  its curves, its record and its newest panel

Parts are joined by: cat NAME-sSTEP.safetensors.part-* > NAME-sSTEP.safetensors
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from omegaconf import OmegaConf
from torch import nn

from crrn.cli.config import build
from crrn.cli.train import quieten
from crrn.errors import ExportError
from crrn.inference.export import export_network
from crrn.nets import load_network
from crrn.training import StageTraining

WIDER = {"int8": "float16", "float16": "float32"}
PAUSE = 1.0
"""Seconds between two looks."""


class Watched:
    """A run, and what was exported of it.

    Args:
        path: its directory, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exported = 0.0
        self._data: L.LightningDataModule | None = None

    def best(self) -> Path | None:
        """The newest best checkpoint, if it is not exported yet."""
        found = sorted(self.path.glob("*/best.ckpt"), key=lambda path: path.stat().st_mtime)
        return found[-1] if found and found[-1].stat().st_mtime > self.exported else None

    def config(self) -> dict[str, Any]:
        """The run's settings; YAML keeps the whole numbers among their names, which JSON does not."""
        content: Any = OmegaConf.to_container(OmegaConf.load(self.path / "config.yaml"))
        return dict(content)

    def evaluate(self, weights: Path, stage: str) -> dict[str, float]:
        """The validation metrics of a file of weights, in float32, by the run's own settings."""
        config = self.config()
        if self._data is None:
            config["data"]["loading"] = {**config["data"]["loading"], "cache": False, "num_workers": 0}
            self._data = build(config["data"], "data")
        node = build(config["stages"][stage], f"stages.{stage}")
        optimizer = build({**config["optimizer"], "freeze": [], "lr_mult": {}}, "optimizer")
        network = load_network(weights)
        module = StageTraining(network, node.loss, optimizer, node.learning_rate, node.schedule, node.monitor)
        trainer = L.Trainer(devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's advice for trainings
            trainer.validate(module, datamodule=self._data, verbose=False)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if node.monitor not in metrics or not all(map(math.isfinite, metrics.values())):
            raise ExportError(f"{weights} gives metrics that are not numbers, or no {node.monitor}: {metrics}.")
        return metrics


def write_weights(network: nn.Module, path: Path, precision: str) -> tuple[str, float]:
    """Writes weights in a precision, or in the next wider one where they then compute something else.

    The first weights of a training can enlarge rounding far beyond what trained ones do; float32 loses nothing.

    Returns:
        The precision, and the largest difference on noise.
    """
    try:
        return precision, max(export_network(network, path, "safetensors", precision).values())
    except ExportError as error:
        if precision not in WIDER:
            raise
        print(f"{error} It is written as {WIDER[precision]}.", flush=True)
        return write_weights(network, path, WIDER[precision])


def export(run: Watched, checkpoint: Path, out: Path, precision: str, limit: int) -> None:
    """Writes the weights of a checkpoint and what is known of them, then removes the run's older files."""
    run.exported = checkpoint.stat().st_mtime
    taken = out / f".{run.path.name}.ckpt"
    shutil.copyfile(checkpoint, taken)  # the training may replace its own at any moment
    state = torch.load(taken, map_location="cpu", weights_only=True, mmap=True)
    step, stage = int(state["global_step"]), state["crrn"]["stage"]
    told = state["callbacks"]["Checkpoints"]["metrics"]
    del state
    name = f"{run.path.name}-s{step:06d}"
    path = out / f"{name}.safetensors"
    network = load_network(taken)
    precision, difference = write_weights(network, path, precision)
    found = run.evaluate(path, stage)
    content = path.read_bytes()
    facts = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "precision": precision,
        "largest_difference_on_noise": difference,
        "step": step,
        "metrics_of_the_checkpoint": told,
        "metrics_of_the_file": found,
    }
    written = [path]
    if len(content) > limit:
        starts = range(0, len(content), limit)
        written = [path.with_name(f"{path.name}.part-{number:02d}") for number in range(len(starts))]
        for part, start in zip(written, starts, strict=True):
            part.write_bytes(content[start : start + limit])
        if b"".join(part.read_bytes() for part in written) != content:
            raise ExportError(f"The parts of {path} are not the file: make room in {out}.")
        path.unlink()
    (out / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    taken.unlink()
    kept = {*written, out / f"{name}.json"}
    for old in out.glob(f"{run.path.name}-s*"):
        if old not in kept:
            old.unlink()
    monitor = run.config()["stages"][stage]["monitor"]
    values = [metrics.get(monitor, float("nan")) for metrics in (found, told)]
    print(
        f"{name}: {monitor} {values[0]:+.3f} (in training {values[1]:+.3f}), "
        f"{len(content) / 1e6:.1f} MB of {precision} in {len(written)} files, {difference:.1e} off on noise",
        flush=True,
    )


def copy_records(run: Watched, out: Path) -> None:
    """Copies curves, record and newest panel of a run."""
    panels = sorted(run.path.glob("*/panels/pairs-*.png")) or sorted(run.path.glob("*/panels/*.png"))
    for source, suffix in (
        *((path, ".csv") for path in sorted(run.path.glob("*/metrics.csv"))[-1:]),
        (run.path / "run.json", ".json"),
        *((path, ".png") for path in panels[-1:]),
    ):
        if source.exists():
            shutil.copyfile(source, out / f"{run.path.name}{suffix}")


def main(out: Path, stop: Path, precision: str, megabytes: float, runs: list[Watched]) -> None:
    """Exports until STOP exists and nothing is new. A run that fails is printed and does not stop the others."""
    quieten("lightning.pytorch", "lightning.fabric")
    out.mkdir(parents=True, exist_ok=True)
    failed = set()
    while True:
        last = stop.exists()  # looked at first: what came before it is exported below
        for run in runs:
            checkpoint = run.best()
            try:
                if checkpoint is not None:
                    export(run, checkpoint, out, precision, int(megabytes * 1e6))
                if checkpoint is not None or last:
                    copy_records(run, out)
            except Exception:
                traceback.print_exc()
                failed.add(run.path.name)
        if last:
            break
        time.sleep(PAUSE)
    failed |= {run.path.name for run in runs if not run.exported}
    if failed:
        sys.exit(f"error: not all was exported of {', '.join(sorted(failed))}: see above.")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        sys.argv[3],
        float(sys.argv[4]),
        [Watched(Path(run)) for run in sys.argv[5:]],
    )
