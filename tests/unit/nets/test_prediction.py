"""Prediction settings: their range, and their way through files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from crrn.errors import CheckpointError, ConfigError
from crrn.nets import GiN, Prediction, load_network, network_prediction, prediction_of, record_of, save_network
from crrn.solvers import SOLVERS


def test_a_choice_wins_over_the_networks_own_settings() -> None:
    own = Prediction(224, 80)
    assert own.chosen() == own
    assert own.chosen("native") == own.chosen(None) == Prediction(None, 80)
    assert own.chosen(320, 0) == Prediction(320, 0)
    assert own.describe() == "working size 224, strength 80"
    assert Prediction().describe() == "the photo's own size"


@pytest.mark.parametrize("side", ["big", 31, 0, -224, 224.5, True, "224"])
def test_a_wrong_working_size_is_refused(side: Any) -> None:
    with pytest.raises(ConfigError, match=r"working_size="):
        Prediction().chosen(side)


@pytest.mark.parametrize("strength", [-1, 151, float("nan"), "80", True])
def test_a_wrong_strength_is_refused(strength: Any) -> None:
    with pytest.raises(ConfigError, match=r"strength="):
        Prediction().chosen(strength=strength)


def test_settings_go_with_the_file(tmp_path: Path) -> None:
    network = GiN(1 / 32)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_network(network, first, Prediction(224, 80))
    assert network_prediction(first) == prediction_of(load_network(first)) == Prediction(224, 80)
    save_network(load_network(first), second)
    assert second.read_bytes() == first.read_bytes()
    assert prediction_of(network) == prediction_of(SOLVERS["yl19"]()) == Prediction()


def test_files_without_settings_have_the_defaults(tmp_path: Path) -> None:
    """Files of before, and training checkpoints."""
    network = GiN(1 / 32)
    save_network(network, tmp_path / "new.safetensors", Prediction(224, 80))
    record = {"crrn": json.dumps({"net": record_of(network)})}
    save_file(load_file(tmp_path / "new.safetensors"), tmp_path / "old.safetensors", record)
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "crrn": {"net": record_of(network)}}, tmp_path / "last.ckpt")
    for name in ("old.safetensors", "last.ckpt"):
        assert network_prediction(tmp_path / name) == prediction_of(load_network(tmp_path / name)) == Prediction()


@pytest.mark.parametrize("settings", [{"working_size": 3}, {"strength": 200}, {"speed": 1}, "fast"])
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: Any) -> None:
    network = GiN(1 / 32)
    save_network(network, tmp_path / "net.safetensors")
    record = {"crrn": json.dumps({"net": record_of(network), "prediction": settings})}
    save_file(load_file(tmp_path / "net.safetensors"), tmp_path / "odd.safetensors", record)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors"):
        load_network(tmp_path / "odd.safetensors")
