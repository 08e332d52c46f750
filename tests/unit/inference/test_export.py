"""Networks exported: folded, checked, and refused where they would not be the network."""

import io
import re

import pytest
import torch
from safetensors.torch import load_file
from tests.integration.conftest import ROOT
from tests.networks import lively
from torch import nn

import crrn
from crrn.errors import CheckpointError, ConfigError, ExportError
from crrn.inference import export
from crrn.inference.folding import fold_batch_norm
from crrn.nets import save_network


@pytest.mark.parametrize("architecture", ["crrn", "iin", "gin", "ceilnet"])
def test_folding_changes_nothing_but_the_layers(architecture):
    network = lively(architecture).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    mixture = torch.rand(2, 3, 40, 70, dtype=torch.float64)
    with torch.no_grad():
        for layer, expected in zip(folded(mixture), network(mixture), strict=True):
            assert layer is expected is None or (layer - expected).abs().max() < 1e-12
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_normalisation_without_a_convolution_cannot_be_folded():
    with pytest.raises(ExportError, match="batch normalisation 1 follows no convolution"):
        fold_batch_norm(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3))[1:])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11's own loader
def test_torch_export_takes_any_size(tmp_path):
    network = lively("gin")
    path = tmp_path / "gin.pt2"
    differences = export.export_network(network, path, "torch_export")
    assert set(differences) == {"1x37x203", "2x150x100", "3x64x64", "1x1x1"}
    assert max(differences.values()) < 1e-4
    content = path.read_bytes()
    assert str(ROOT).encode() not in content  # traces of this machine
    module = torch.export.load(io.BytesIO(content)).module()
    for shape in ((1, 3, 33, 31), (5, 3, 2, 97), (1, 3, 128, 160)):
        mixture = torch.rand(shape)
        with torch.no_grad():
            (gradient,) = module(mixture)
            assert (gradient - network(mixture).gradient).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda layers: [layer + 2e-4 for layer in layers], r"2\.0e-04"),
        (lambda layers: [layer * torch.nan for layer in layers], "nan"),
        (lambda layers: [layer[..., :-1] for layer in layers], "shapes"),
        (lambda layers: layers[0].nonsense, "1x37x203: 'Tensor'"),
    ],
)
def test_a_file_that_computes_something_else_is_refused(tmp_path, monkeypatch, run, said):
    network = lively("gin")
    path = tmp_path / "gin.safetensors"
    path.write_text("what was there before")
    monkeypatch.setitem(
        export._READERS, "safetensors", lambda _: lambda mixture: run(export.estimated(network, mixture))
    )
    with pytest.raises(ExportError, match=said):
        export.export_network(network, path, "safetensors")
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_half_precision_is_half_the_size(tmp_path):
    network = lively("crrn")
    export.export_network(network, tmp_path / "whole.safetensors", "safetensors")
    differences = export.export_network(network, tmp_path / "half.safetensors", "safetensors", "float16")
    assert 0 < max(differences.values()) < 1e-2
    stored = load_file(tmp_path / "half.safetensors")
    assert stored["iin.head.1.weight"].dtype == torch.float16
    assert stored["iin.head.1.bias"].dtype == stored["iin.encoder.mean"].dtype == torch.float32
    loaded = crrn.load(tmp_path / "half.safetensors")
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.iin.head[1].weight, network.iin.head[1].weight.half().float())


def test_integers_are_compared_with_the_network_too(tmp_path):
    network = lively("crrn")
    differences = export.export_network(network, tmp_path / "small.safetensors", "safetensors", "int8")
    assert 0 < max(differences.values()) < 5e-2
    stored = load_file(tmp_path / "small.safetensors")
    assert stored["iin.head.1.weight"].dtype == torch.int8
    weight = network.iin.head[1].weight.detach()
    step = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    assert (crrn.load(tmp_path / "small.safetensors").iin.head[1].weight - weight).abs().le(0.501 * step).all()


@pytest.mark.parametrize(
    ("format", "precision", "said"),
    [
        ("tflite", "float32", "tflite.*onnx, torch_export, safetensors"),
        ("safetensors", "int4", "int4.*float32, float16, int8"),
        ("onnx", "float16", "format=safetensors"),
    ],
)
def test_what_cannot_be_exported(format, precision, said):
    with pytest.raises(ConfigError, match=said):
        export.check_format(format, precision)


def test_a_missing_package(monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"onnxscript.*'crrn\[export\]'"):
        export.check_format("onnx", "float32")


def test_a_folder_gives_the_network_back(tmp_path):
    network = lively("crrn")
    assert crrn.save_pretrained(network, tmp_path / "net") == tmp_path / "net"
    loaded = crrn.from_pretrained(tmp_path / "net")
    assert type(loaded) is crrn.CRRN and not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["config.json", "model.safetensors"]


def test_a_run_directory_or_a_file_will_do(tmp_path):
    network = lively("gin")
    save_network(network, tmp_path / "weights.safetensors")
    for name in (tmp_path, str(tmp_path / "weights.safetensors")):
        assert torch.equal(crrn.from_pretrained(name).output.weight, network.output.weight)


def test_what_is_no_network(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        crrn.from_pretrained(tmp_path)
    for name in ("nowhere", "a/b/c", "./a", "/a"):
        with pytest.raises(CheckpointError, match=re.escape(name)):
            crrn.from_pretrained(name)
    torch.save({"weight": torch.rand(3)}, tmp_path / "model.safetensors")  # a pickle
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        crrn.from_pretrained(tmp_path)
