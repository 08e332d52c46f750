"""Quick answers: help and mistakes before torch, the dry run, the debugging configs, the resume check."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, Outcome, tiny

Train = Callable[..., Outcome]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--cfg", "job"],
        ["trainer.max_epoch=1"],
        ["-m", "trainer.max_epoch=1,2"],
        ["+colour=1"],
    ],
    ids=" ".join,
)
def test_help_and_mistakes_answer_without_torch(arguments: list[str], tmp_path: Path) -> None:
    script = "import sys\nfrom crrn.cli.train import main\ntry:\n main()\nfinally:\n print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "False", done.stdout + done.stderr
    assert (done.returncode == 0) == (arguments[0].startswith("--"))
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("setting", ["+trainer.max_epoch=1", "+stages.gin.loss.colour=1", "+stages.jonit.epochs=1"])
def test_an_unknown_setting_is_refused_before_anything_is_written(
    train: Train, photos: Path, tmp_path: Path, setting: str
) -> None:
    outcome = train(*tiny(photos, "name=refused", setting))
    assert outcome.status == 1 and setting[1:].partition("=")[0].split(".")[1] in outcome.err
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
def test_a_dry_run_trains_nothing(train: Train, photos: Path, tmp_path: Path) -> None:
    outcome = train(
        *tiny(photos, "dry_run=true", "width=1", "data.batches.sizes=[224x288]", "data.batches.batch_size=16"),
        "stages.joint.epochs=80",
        "data.batches.samples_per_epoch=14754",
    )
    assert outcome.status == 0, outcome.err
    (joint,) = (line for line in outcome.out.splitlines() if "joint" in line)
    numbers = [cell.strip() for cell in joint.strip("│ ").split("│")]
    # the paper's network: 59.8 M parameters, 92 GFLOP; 923 batches in each of 80 epochs
    assert numbers[1] == "59.78 M" and float(numbers[3]) == pytest.approx(92, abs=0.5)
    assert numbers[-1] == f"{923 * 80:,}"
    assert re.search(r"background +│ background +│ 5 +│ 3", outcome.out)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("debug", ["fast", "profile"])
def test_debugging_configs_run(train: Train, photos: Path, tmp_path: Path, debug: str) -> None:
    data = [o for o in tiny(photos) if not o.startswith("net.")]
    sooner = ["callbacks.trace.after=1", "callbacks.trace.batches=2"] if debug == "profile" else []
    outcome = train(*data, f"debug={debug}", "width=0.05", "init=null", *sooner)
    assert outcome.status == 0, outcome.err
    (run,) = (tmp_path / "runs/debug").iterdir()
    assert (run / "weights.safetensors").exists()
    if debug == "profile":
        assert "run_training_batch" in (run / "fit-profile.txt").read_text()
        for stage in ("gin", "joint"):
            events = json.loads((run / stage / "trace.json").read_text())["traceEvents"]
            names = [event.get("name") for event in events if event.get("ph") == "X"]
            assert any("aten::conv" in name for name in names) and names.count("ProfilerStep#1") == 1


def test_overfitting_repeats_one_batch(train: Train, photos: Path, tmp_path: Path) -> None:
    settings = tiny(photos, "debug=overfit", "stages=gin", "logging.fingerprints=true")
    outcome = train(*settings, "data.batches.samples_per_epoch=60", "width=0.1", "data.batches.sizes=[32x48]")
    assert outcome.status == 0, outcome.err
    (path,) = tmp_path.glob("runs/debug/*/gin/metrics.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30 and len({row["train/fingerprint"] for row in rows}) == 1
    assert float(rows[-1]["train/loss"]) < 0.75 * float(rows[0]["train/loss"])


@pytest.mark.slow
def test_the_resume_check_ends_with_identical_weights(photos: Path) -> None:
    overrides = [o for o in tiny(photos) if o.startswith(("data=", "data.background", "data.reflection", "data.held"))]
    smaller = ["data.batches.samples_per_epoch=12", "logging.panel_images=1"]
    done = subprocess.run(
        [sys.executable, "-m", "src.resume_check", *overrides, *smaller],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed by SIGKILL" in done.stdout and "identical, bit for bit" in done.stdout
    digests = re.findall(r"weights\.safetensors  ([0-9a-f]{32})", done.stdout)
    assert len(digests) == 2 and digests[0] == digests[1]


def test_the_dashboard_compares_the_ablations() -> None:
    from crrn.cli.dashboard import build_dashboard

    view = build_dashboard("someone", "crrn", "crrn_full")._to_model().model_dump_json()
    metrics = ("final/background_ssim", "joint/val/reflection_si", "gin/train/loss")
    for words in (*metrics, "ablation.value", "joint/panel", "joint/images", "crrn_full"):
        assert words in view
