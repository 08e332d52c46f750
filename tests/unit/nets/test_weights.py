"""Networks written to files and rebuilt from them alone."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import crrn
from crrn.errors import CheckpointError
from crrn.nets import CRRN, load_network, network_record, record_of, save_network

ARCHITECTURES = ("crrn", "iin", "gin")


def same(network, other) -> bool:
    """Bit for bit, weights and results."""
    mixture = torch.rand(1, 3, 40, 50)
    with torch.no_grad():
        results = zip(network(mixture), other(mixture), strict=True)
    states = network.state_dict(), other.state_dict()
    return (
        states[0].keys() == states[1].keys()
        and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        and all(a is b is None or torch.equal(a, b) for a, b in results)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_round_trip_is_bit_equal(trained, architecture, tmp_path, caplog):
    network = trained(architecture)
    caplog.clear()
    path = tmp_path / "net.safetensors"
    save_network(network, path)
    loaded = load_network(path)
    assert type(loaded) is type(network)
    assert not loaded.training
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in loaded.parameters())
    assert same(network, loaded)
    assert network_record(path) == record_of(network)
    assert caplog.records == []  # no word of a random encoder: the file fills it
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_from_a_training_checkpoint(trained, architecture, tmp_path):
    network = trained(architecture)
    path = tmp_path / "last.ckpt"
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    checkpoint = {
        "state_dict": state | {"metric.count": torch.ones(1)},
        "crrn": {"net": record_of(network)},
        "epoch": 3,
    }
    torch.save(checkpoint, path)
    assert same(network, crrn.load(path))
    assert network_record(path) == record_of(network)


def test_channels_last_weights_are_saved_by_value(tmp_path, trained):
    network = CRRN(1 / 32).to(memory_format=torch.channels_last).eval()
    network.load_state_dict(trained("crrn").state_dict())
    save_network(network, tmp_path / "net.safetensors")
    state = load_network(tmp_path / "net.safetensors").state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_loaded_network_trains_on(tmp_path, trained):
    save_network(trained("crrn"), tmp_path / "net.safetensors")
    network = load_network(tmp_path / "net.safetensors").train()
    before = network.gin.output.weight.detach().clone()
    network(torch.rand(2, 3, 64, 64)).gradient.sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    assert not torch.equal(before, network.gin.output.weight)


def test_the_file_says_what_it_holds(tmp_path, trained):
    save_network(trained("gin"), tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        record = json.loads(file.metadata()["crrn"])
    assert record["net"] == {"_target_": "crrn.nets.GiN", "width": 1 / 32, "head": "additive"}
    assert record["prediction"] == {"working_size": None, "strength": 100}


def test_a_failed_save_leaves_the_old_file(tmp_path, trained, monkeypatch):
    path = tmp_path / "net.safetensors"
    network = trained("gin")
    save_network(network, path)
    before = path.read_bytes()

    def fail(*_):
        raise RuntimeError("killed")

    monkeypatch.setattr("crrn.nets.weights.save", fail)
    with pytest.raises(RuntimeError, match="killed"):
        save_network(network, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.safetensors"):
        load_network(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_network(tmp_path)


def test_a_text_file_is_no_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_text("I am not a network.")
    with pytest.raises(CheckpointError, match=path.name):
        load_network(path)


def test_a_header_with_line_breaks_is_told_in_one_line(tmp_path):
    path = tmp_path / "net.safetensors"
    header = json.dumps({"x": {"dtype": "F\n32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CheckpointError, match="F 32") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_a_record_with_line_breaks_is_told_in_one_line(tmp_path, trained):
    path, network = tmp_path / "net.ckpt", trained("gin")
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "crrn": {"net": record_of(network) | {"head": "a\nb"}}}, path)
    with pytest.raises(CheckpointError, match="head=a b is unknown") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_a_torn_file(tmp_path, trained, share, suffix):
    path = tmp_path / f"net.{suffix}"
    network = trained("gin")
    if suffix == "ckpt":
        state = {f"net.{name}": value for name, value in network.state_dict().items()}
        torch.save({"state_dict": state, "crrn": {"net": record_of(network)}}, path)
    else:
        save_network(network, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=str(path.name)):
        load_network(path)


def test_a_header_that_promises_the_moon(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(CheckpointError, match=path.name):
        load_network(path)


@pytest.mark.parametrize(
    "metadata",
    [None, {"other": "1"}, {"crrn": "no json"}, {"crrn": "{}"}, {"crrn": "[]"}, {"crrn": '{"net": 3}'}],
)
def test_weights_of_others(tmp_path, metadata):
    path = tmp_path / "net.safetensors"
    save_file({"weight": torch.rand(3)}, path, metadata)
    with pytest.raises(CheckpointError, match=path.name):
        load_network(path)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"crrn": {}}, [1, 2], 3])
def test_checkpoints_of_others(tmp_path, content):
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=path.name):
        load_network(path)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architecture": "gin", "width": 1, "head": "tanh"},
        {"architecture": "gin", "width": 1, "colour": "blue"},
        {"architecture": "unet", "width": 1},
        {"architecture": "gin", "width": "x"},
        {"architecture": "gin", "width": 0},
        {"architecture": "gin", "width": 1e300},
    ],
)
def test_a_record_that_cannot_be_built(tmp_path, config):
    path = tmp_path / "net.safetensors"
    save_file({"weight": torch.rand(3)}, path, {"crrn": json.dumps({"net": config})})
    with pytest.raises(CheckpointError, match=path.name):
        load_network(path)


def test_weights_that_differ_from_the_architectures(tmp_path, trained):
    path = tmp_path / "net.safetensors"
    save_network(trained("crrn"), path)
    state = load_file(path)
    metadata = {"crrn": json.dumps({"net": {"architecture": "gin", "width": 1 / 32}})}
    save_file(state, path, metadata)
    with pytest.raises(CheckpointError, match=path.name):
        load_network(path)
    wide = {"crrn": json.dumps({"net": {"architecture": "crrn", "width": 1 / 16}})}
    save_file(state, path, wide)
    with pytest.raises(CheckpointError, match=path.name):
        load_network(path)


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, hostile, suffix, bare):
    path, marker = hostile(tmp_path / f"net.{suffix}", bare)
    with pytest.raises(CheckpointError):
        load_network(path)
    assert not marker.exists()
