"""Weights as 8-bit integers, against NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import save_file
from tests.networks import lively
from torch import nn

from crrn.errors import CheckpointError
from crrn.nets import CRRN, load_network
from crrn.nets.int8 import from_int8, to_int8
from crrn.nets.weights import network_bytes


@pytest.mark.parametrize("architecture", ["crrn", "ceilnet"])
def test_round_trip_through_a_file(tmp_path: Path, architecture: str) -> None:
    network = lively(architecture)
    path = tmp_path / "net.safetensors"
    path.write_bytes(network_bytes(network, torch.int8))
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["crrn"])["precision"] == "int8"
    stored = load_file(path)
    loaded = load_network(path).state_dict()
    convolutions = {
        f"{name}.weight": int(isinstance(layer, nn.ConvTranspose2d))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    }
    assert 0 in convolutions.values() and (architecture == "ceilnet" or 1 in convolutions.values())
    for name, tensor in network.state_dict().items():
        if name not in convolutions:
            assert torch.equal(loaded[name], tensor), name
            continue
        channel = convolutions[name]
        weight = np.moveaxis(tensor.numpy(), channel, 0).astype(np.float64)
        step = np.abs(weight).max(axis=(1, 2, 3)) / 127
        rows = np.moveaxis(stored[name], channel, 0)
        assert rows.dtype == np.int8 and np.abs(rows).max() == 127
        np.testing.assert_allclose(stored[f"{name}.scale"].ravel(), step, rtol=1e-6)
        back = np.moveaxis(loaded[name].numpy(), channel, 0)
        assert back.dtype == np.float32
        np.testing.assert_allclose(back, rows * step[:, None, None, None], rtol=1e-6)
        assert (np.abs(back - weight).max(axis=(1, 2, 3)) <= step * 0.5001).all()


def test_a_file_of_integers_is_a_quarter_of_the_size() -> None:
    network = CRRN(0.1)
    assert len(network_bytes(network, torch.int8)) < 0.28 * len(network_bytes(network))


def test_channels_of_zeros_stay_zero() -> None:
    layer = nn.Conv2d(2, 3, 3)
    nn.init.zeros_(layer.weight)
    state = from_int8(to_int8(layer, layer.state_dict()))
    assert not state["weight"].any() and state.keys() == {"weight", "bias"}


@pytest.mark.parametrize("wrong", ["missing", "shape"])
def test_integers_without_their_scales_are_refused(tmp_path: Path, wrong: str) -> None:
    network = lively("gin")
    path = tmp_path / "net.safetensors"
    path.write_bytes(network_bytes(network, torch.int8))
    with safe_open(path, "pt") as file:
        metadata, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = next(name for name in state if name.endswith(".scale"))
    scale = state.pop(name)
    if wrong == "shape":
        state[name] = torch.cat((scale, scale))
    save_file(state, path, metadata)
    with pytest.raises(CheckpointError, match=r"net\.safetensors"):
        load_network(path)
