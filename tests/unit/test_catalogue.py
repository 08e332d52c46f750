"""The networks that ship: listed, found by name, and refused where damaged."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import crrn
from crrn import catalogue
from crrn.catalogue import METHODS, default_model, models, shipped
from crrn.errors import CheckpointError, ConfigError
from crrn.nets import CRRN, Prediction, prediction_of, save_network
from crrn.removers import checkpoint_path, load_remover, remover_digest, remover_label, remover_prediction
from crrn.solvers import SOLVERS


def ship(folder: Path, name: str, default: bool) -> None:
    """A tiny network as it would ship."""
    save_network(CRRN(1 / 32), folder / f"{name}.safetensors", Prediction(64, 80))
    digest = hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()
    entry = {"name": name, "about": f"About {name}", "default": default, "file": f"{name}.safetensors"}
    (folder / f"{name}.json").write_text(json.dumps({**entry, "sha256": digest}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ship(tmp_path, "fast", default=False)
    ship(tmp_path, "good", default=True)
    return tmp_path


def test_the_default_comes_first_and_methods_last(folder: Path) -> None:
    listed = models(folder)
    assert [one.name for one in listed] == ["good", "fast", *METHODS]
    assert [one.name for one in listed if one.default] == ["good"] == [default_model(folder)]
    assert listed[0].about == "About good"
    assert listed[0].megabytes == pytest.approx((folder / "good.safetensors").stat().st_size / 1e6, abs=0.05)
    assert all(one.megabytes == 0 for one in listed[2:])


def test_without_networks_the_fast_method_is_the_default(tmp_path: Path) -> None:
    assert [one.name for one in models(tmp_path)] == list(METHODS)
    assert default_model(tmp_path) == "yl19" == next(one.name for one in models(tmp_path) if one.default)


def test_every_method_is_a_solver() -> None:
    assert METHODS.keys() == SOLVERS.keys() - {"identity"}


def test_a_name_is_taken_wherever_a_remover_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", folder)
    assert prediction_of(load_remover("fast")) == remover_prediction("fast") == Prediction(64, 80)
    assert remover_label("fast") == "fast"
    assert remover_digest("fast") == remover_digest(str(folder / "fast.safetensors")) != remover_digest("good")
    default = crrn.load().state_dict()
    assert all(torch.equal(value, default[name]) for name, value in crrn.load("good").state_dict().items())
    assert isinstance(crrn.load(folder / "good.safetensors"), crrn.CRRN)
    assert crrn.models() == models(folder)


def test_a_wrong_name_lists_the_right_ones(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'goood'.*fast, good, identity, .*\bgood\?"):
        checkpoint_path("goood", folder)


def test_a_damaged_network_is_refused(folder: Path) -> None:
    weights = folder / "good.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"good\.safetensors"):
        checkpoint_path("good", folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match="good"):
        checkpoint_path("good", folder)
    (folder / "good.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"good\.json"):
        shipped(folder)


def test_listing_needs_no_torch() -> None:
    script = "import sys, crrn; assert crrn.models(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
