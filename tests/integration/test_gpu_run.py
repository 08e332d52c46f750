"""What experiments/gpu carries away from a machine: files of a bounded size, evaluated, that are the network again."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from crrn.inference.export import TOLERANCES
from crrn.nets import CRRN, estimate, load_network
from tests.integration.conftest import ROOT, Outcome, tiny, with_pairs

SCRIPTS = ROOT / "experiments" / "gpu"
LIMIT = 0.1
"""Megabytes of a file."""


def exporter(out: Path, stop: Path, *runs: Path) -> subprocess.CompletedProcess[str]:
    arguments = [out, stop, "float16", LIMIT, *runs]
    return subprocess.run(
        [sys.executable, str(SCRIPTS / "export.py"), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_best_weights_in_parts(train: Callable[..., Outcome], photos: Path, tmp_path: Path) -> None:
    given = tiny(photos, *with_pairs(photos), "stages=joint", "stages.joint.epochs=2", "ema_decay=0.9", "name=best")
    outcome = train(*given, "stages.joint.monitor=pairs/matched_gain_psnr")
    assert outcome.status == 0, outcome.err
    run, out, stop = tmp_path / "runs/best", tmp_path / "out", tmp_path / "stop"
    out.mkdir()
    (out / "best-s000001.json").write_text("of an earlier checkpoint")
    stop.touch()
    done = exporter(out, stop, run)
    assert done.returncode == 0, done.stdout + done.stderr

    (written,) = out.glob("best-s*.json")
    facts = json.loads(written.read_text())
    parts = sorted(out.glob("best-s*.part-*"))
    assert len(parts) > 2 and all(part.stat().st_size <= 1e6 * LIMIT for part in parts)
    joined = tmp_path / "joined.safetensors"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert hashlib.sha256(joined.read_bytes()).hexdigest() == facts["sha256"]
    checkpoint = load_network(run / "joint/best.ckpt").state_dict()
    for name, value in load_network(joined).state_dict().items():
        if value.dim() == 4:
            assert torch.equal(value, checkpoint[name].half().float()), name
        else:  # statistics and biases are whole
            assert torch.equal(value, checkpoint[name]), name
    told, found = facts["metrics_of_the_checkpoint"], facts["metrics_of_the_file"]
    assert told.keys() == found.keys() and "pairs/matched_gain_psnr" in found
    for name, value in found.items():
        # float16, and another order of sums; a share of images may jump by one of them
        assert value == pytest.approx(told[name], abs=0.02) or name.endswith("harm_rate"), name
    kept = {path.name for path in out.iterdir()} - {part.name for part in parts}
    assert kept == {written.name, "best.csv", "best.json", "best.png"}
    assert (out / "best.csv").read_bytes() == (run / "joint/metrics.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "expected"), [(1.0, "int8"), (1e3, "float16"), (1e5, "float32")])
def test_weights_that_enlarge_rounding_are_written_wider(tmp_path: Path, scale: float, expected: str) -> None:
    spec = importlib.util.spec_from_file_location("gpu_export", SCRIPTS / "export.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    network = CRRN(width=0.0625).eval()
    final = [layer for layer in network.iin.modules() if isinstance(layer, nn.Conv2d)][-1]
    with torch.no_grad():
        final.weight.normal_(std=1e-3 * scale)
    path = tmp_path / "weights.safetensors"
    precision, difference = module.write_weights(network, path, "int8")
    assert precision == expected and difference <= TOLERANCES[precision]
    mixture = torch.rand((1, 3, 32, 32))
    with torch.inference_mode():
        found, true = (estimate(net.eval(), mixture).background for net in (load_network(path), network))
    assert found is not None and true is not None
    assert float((found - true).abs().max()) <= TOLERANCES[precision]


@pytest.mark.slow
def test_a_run_without_weights_is_an_error_that_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    done = exporter(tmp_path / "out", tmp_path / "stop", tmp_path / "nowhere")
    assert done.returncode == 1 and "error: not all was exported of nowhere" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["photos", "pairs"], ["--rehearse"]])
def test_the_script_says_what_it_needs(arguments: list[str]) -> None:
    done = subprocess.run(["bash", str(SCRIPTS / "run.sh"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: give ")
