"""Two processes train what one does."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.integration.conftest import Zygote, start, tiny, with_pairs
from tests.integration.wandb_files import OfflineRun

TWO = ("trainer.devices=2", "trainer.strategy=ddp")


def settings(photos: Path, *overrides: str) -> list[str]:
    """Both stages; batches of 4 are 2 a rank, 7 validation mixtures are an uneven tail. Mixtures and real pairs."""
    return tiny(
        photos,
        *with_pairs(photos),
        "data.batches.batch_size=4",
        "data.batches.samples_per_epoch=12",
        "data.validation.mixtures=7",
        "stages.gin.epochs=1",
        "stages.joint.epochs=2",
        "stages.joint.schedule.milestones=[0.5]",
        "logging.fingerprints=true",
        "ema_decay=0.9",
        *overrides,
    )


def test_processes_that_are_forked_hand_their_weights_over(zygote: Zygote, photos: Path) -> None:
    forked = ("trainer.devices=2", "trainer.strategy=ddp_fork", "name=forked")
    status, _ = zygote(*settings(photos, *forked))
    assert status == 0, zygote.log.read_text()
    run = zygote.folder / "runs/forked"
    state = torch.load(run / "joint/last.ckpt", weights_only=True)["state_dict"]
    for name, value in load_file(run / "weights.safetensors").items():
        assert torch.equal(value, state[f"net.{name}"]), name
    assert len(curve(run / "joint" / "metrics.csv")) == 6
    assert "ends after epoch" not in zygote.log.read_text() and not list(run.rglob(".temp.ckpt"))


def curve(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def test_two_processes_train_what_one_does(zygote: Zygote, photos: Path, tmp_path: Path) -> None:
    plain = "net._target_=tests.integration.plain.PlainCRRN"
    status, _ = zygote(*settings(photos, plain, "name=one"))
    assert status == 0, zygote.log.read_text()
    process = start(tmp_path, *settings(photos, plain, "name=two", "logger=wandb", *TWO))
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    assert "Warning" not in out and "recommended" not in out, out
    assert out.count("on 2 devices") == 2, out
    one, two = zygote.folder / "runs/one", tmp_path / "runs/two"
    for stage in ("gin", "joint"):
        ours, theirs = curve(one / stage / "metrics.csv"), curve(two / stage / "metrics.csv")
        assert len(ours) == len(theirs) == (3 if stage == "gin" else 6)
        assert len({row["train/fingerprint"] for row in ours}) == len(ours)
        for a, b in zip(ours, theirs, strict=True):
            assert a.keys() == b.keys()
            assert a["train/fingerprint"] == b["train/fingerprint"]
            for key in a.keys() - {"train/fingerprint"}:
                if key.startswith("speed/"):
                    continue
                if key.endswith("psnr") and "gain" not in key:  # 3e-6 of an error of 0.1 are 2e-4 dB
                    assert 10 ** (-b[key] / 20) == pytest.approx(10 ** (-a[key] / 20), abs=3e-6), key
                else:
                    assert b[key] == pytest.approx(a[key], abs=2e-4 if key.endswith("psnr") else 1e-5), key
    (offline,) = (two / "wandb").glob("offline-run-*")
    (images,) = OfflineRun(offline).logged("joint/images")
    table = json.loads((offline / "files" / images["path"]).read_text())
    column = {name: [row[n] for row in table["data"]] for n, name in enumerate(table["columns"])}
    assert column["number"] == list(range(7))
    for key, metric in (("ssim", "background_ssim"), ("identity psnr", "identity_background_psnr")):
        mean = curve(two / "joint" / "metrics.csv")[-1][f"val/{metric}"]
        assert statistics.fmean(column[key]) == pytest.approx(mean, rel=1e-5), key
    written = [
        sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and "wandb" not in str(path))
        for run in (one, two)
    ]
    assert written[0] == written[1]


@pytest.mark.slow
def test_two_processes_that_compile_train_what_one_does_that_does_not(
    zygote: Zygote, photos: Path, tmp_path: Path
) -> None:
    """And a checkpoint of theirs goes on without a compiler on one device."""
    plain = settings(photos, "net._target_=tests.integration.plain.PlainCRRN", "stages=joint")
    status, _ = zygote(*plain, "name=plain")
    assert status == 0, zygote.log.read_text()
    compiler = "+callbacks.compiler={_target_: tests.integration.plain.CompilerThatChangesNothing}"
    process = start(tmp_path, *plain, "name=compiled", "compile=true", compiler, *TWO)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    one, two = zygote.folder / "runs/plain/joint", tmp_path / "runs/compiled/joint"
    assert_same_weights(one / "last.ckpt", two / "last.ckpt")
    status, _ = zygote(*plain, f"resume={two / 'previous.ckpt'}")
    assert status == 0, zygote.log.read_text()
    assert_same_weights(one / "last.ckpt", two / "last.ckpt")


def assert_same_weights(one: Path, other: Path) -> None:
    """Of two checkpoints: those that are trained, and their average, by the same names."""
    first, second = (torch.load(path, weights_only=True) for path in (one, other))
    assert first["global_step"] == second["global_step"]
    for kind in ("state_dict", "current_model_state"):
        assert list(first[kind]) == list(second[kind])
        torch.testing.assert_close(first[kind], second[kind], atol=1e-4, rtol=0)
