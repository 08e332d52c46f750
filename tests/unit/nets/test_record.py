"""Records: files of before are read, and a file can name a network's class and nothing else."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.networks import NETWORKS, named

import crrn
from crrn import plugins
from crrn.errors import CheckpointError, ConfigError
from crrn.nets import CRRN, GiN, IiN, build_network, estimates_of, load_network, network_record, record_of, save_network
from crrn.nets.record import describe, set_record, upgraded

OLD = Path(__file__).parents[2] / "data" / "old_networks.zip"
"""Files of all networks, and what they computed, written before records had a `_target_` and GiN a `head`."""

MINE = """
import os
from os import system
import torch
from crrn.nets import GiN

class Net(torch.nn.Module):
    def __init__(self, channels=4, names=("a",), bias=True):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 3, padding=1, bias=bias)

    def forward(self, mixture):
        return mixture - self.layer(mixture)

    class Inner(torch.nn.Module):
        pass

class Plain:
    def __init__(self, **settings):
        raise AssertionError("was called")

def function(**settings):
    raise AssertionError("was called")

Other = Net
module = torch.nn.Conv2d(1, 1, 1)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `strangers` with networks of its own, and what `crrn.plugins.allow` did before the test."""
    folder = tmp_path / "site" / "strangers"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "nets.py").write_text(MINE)
    (folder / "broken.py").write_text("raise RuntimeError('by its own code')")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(plugins, "_named", set())
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "strangers"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_files_of_before_give_the_same_network(name, tmp_path):
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path)
    outputs = np.load(tmp_path / "outputs.npz")
    network = crrn.load(tmp_path / f"{name}.safetensors")
    assert type(network) is NETWORKS[name]
    assert record_of(network)["width"] == 1 / 128
    assert "head" not in record_of(network) or record_of(network)["head"] == "sigmoid"
    with torch.inference_mode():
        layers = network(torch.from_numpy(outputs["mixture"]))._asdict()
    expected = {key.partition(".")[2]: outputs[key] for key in outputs if key.startswith(f"{name}.")}
    assert {layer for layer, value in layers.items() if value is not None} == expected.keys()
    for layer, value in expected.items():
        np.testing.assert_allclose(layers[layer].numpy(), value, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_of_before(tmp_path):
    with zipfile.ZipFile(OLD) as archive:
        archive.extract("gin.ckpt", tmp_path)
        outputs = np.load(io.BytesIO(archive.read("outputs.npz")))
    network = load_network(tmp_path / "gin.ckpt")
    with torch.inference_mode():
        gradient = network(torch.from_numpy(outputs["mixture"])).gradient
    np.testing.assert_allclose(gradient.numpy(), outputs["gin.gradient"], atol=1e-5, rtol=1e-5)


def test_a_config_of_before_is_understood():
    node = {
        "_target_": "crrn.nets.build_network",
        "architecture": "iin",
        "width": 0.25,
        "encoder_weights": None,
        "channels_last": True,
        "compile": False,
    }
    assert upgraded(node) == {
        "_target_": "crrn.nets.IiN",
        "width": 0.25,
        "encoder_width": 0.25,
        "gradient_features": False,
    }
    assert describe(node) == "IiN (encoder_width 0.25, width 0.25, gradient_features False)"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_holds_what_builds_the_network_again(name, tmp_path):
    network = named(name, 1 / 32)
    save_network(network, tmp_path / "net.safetensors")
    record = network_record(tmp_path / "net.safetensors")
    assert record == record_of(network) and record["_target_"] == f"crrn.nets.{type(network).__name__}"
    assert record_of(build_network(record)) == record


def test_a_subclass_is_recorded_under_its_own_name_and_settings():
    class Wide(GiN):
        def __init__(self, factor=2):
            super().__init__(factor / 64)

    with pytest.raises(ConfigError, match="does not know its settings"):
        record_of(Wide())
    network = Wide(3)
    set_record(network, Wide, {"factor": 3})
    assert record_of(network)["factor"] == 3 and "width" not in record_of(network)


def file_of(path: Path, record: object, suffix: str) -> Path:
    path = path / f"net.{suffix}"
    if suffix == "ckpt":
        torch.save({"state_dict": {"net.weight": torch.rand(3)}, "crrn": {"net": record}}, path)
    else:
        save_file({"weight": torch.rand(3)}, path, {"crrn": json.dumps({"net": record})})
    return path


HOSTILE = [
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "torch.nn.Conv2d",
    "torch.load",
    "crrn.cli.config.os.system",
    "crrn.cli.config.build",
    "crrn.nets.build.import_module",
    "crrn.nets.weights.torch.load",
    "crrn.nets.os",
    "crrn.nets.build_network",
    "crrn.nets.load_network",
    "crrn.nets.gin.GiN",
    "crrn.CRRN",
    "crrn.nets.gin.nn.Sequential",
    "crrn.nets.Network.stages",
    "crrn.bench.scale.ScaleSuite",
    ".nets.GiN",
    "..os.system",
    "crrn.nets..GiN",
    "crrn.nets.GiN.",
    "crrn.nets.GiN()",
    "crrn/nets/GiN",
    "GiN",
    "crrn",
    "",
    "crrn.nets.ＧiＮ",
    "__main__.Net",
    "crrn_evil.Net",
    3,
    None,
    ["crrn.nets.GiN"],
    {"_target_": "crrn.nets.GiN"},
]


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
@pytest.mark.parametrize("target", HOSTILE, ids=str)
def test_a_file_names_crrns_networks_and_nothing_else(target, suffix, tmp_path):
    modules = set(sys.modules)
    with pytest.raises(CheckpointError):
        load_network(file_of(tmp_path, {"_target_": target, "width": 0.1}, suffix))
    assert not {name for name in set(sys.modules) - modules if not name.startswith(("crrn.nets.", "torch."))}


@pytest.mark.parametrize(
    "settings",
    [
        {"width": {"_target_": "os.system", "command": "true"}},
        {"width": [{"_target_": "os.system"}]},
        {"_partial_": True},
        {"_args_": [1]},
        {"_recursive_": False},
        {"_convert_": "all"},
        {"width": float("nan")},
        {"width": 0.1, "colour": "blue"},
        {"width": "0.1"},
        {"width": -1},
        {"width": [[[[[[[[[[1]]]]]]]]]]},
        {"head": {"additive": 1}},
        {"head": None},
        {"width": None},
    ],
    ids=str,
)
def test_settings_are_plain_values_that_the_class_takes(settings, tmp_path):
    with pytest.raises(CheckpointError):
        load_network(file_of(tmp_path, {"_target_": "crrn.nets.GiN", **settings}, "safetensors"))


def test_a_header_that_is_nested_without_end(tmp_path):
    save_file({"weight": torch.rand(3)}, tmp_path / "a.safetensors", {"crrn": "[" * 100_000})
    with pytest.raises(CheckpointError, match="was not written by crrn"):
        load_network(tmp_path / "a.safetensors")


def test_a_module_that_is_not_allowed_is_not_even_imported(package, tmp_path):
    path = file_of(tmp_path, {"_target_": "strangers.nets.Net"}, "safetensors")
    with pytest.raises(CheckpointError, match=r"plugins=\[strangers\]"):
        load_network(path)
    assert not any(name.startswith("strangers") for name in sys.modules)
    # a package whose name only begins like an allowed one
    plugins.allow(["json"])
    with pytest.raises(CheckpointError, match="plugins="):
        load_network(file_of(tmp_path, {"_target_": "jsonschema.Net"}, "safetensors"), plugins=["stranger"])
    assert not any(name.startswith("strangers") for name in sys.modules)


@pytest.mark.parametrize(
    "name", ["os.system", "system", "Plain", "function", "Other", "module", "GiN", "Net.Inner", "No"]
)
def test_an_allowed_package_gives_its_networks_and_nothing_else(package, name, tmp_path):
    path = file_of(tmp_path, {"_target_": f"strangers.nets.{name}"}, "safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_network(path, plugins=["strangers"])
    assert "was called" not in str(caught.value)


def test_a_module_that_fails_is_named(package, tmp_path):
    with pytest.raises(CheckpointError, match=r"strangers\.broken"):
        load_network(file_of(tmp_path, {"_target_": "strangers.broken.Net"}, "ckpt"), plugins=["strangers"])


def test_a_strangers_network_is_saved_and_loaded(package, tmp_path, monkeypatch):
    network = build_network({"_target_": "strangers.nets.Net", "channels": 8}, plugins=["strangers"])
    # defaults that are plain values are recorded too, so that a later default does not change this network
    assert record_of(network) == {"_target_": "strangers.nets.Net", "channels": 8, "names": ["a"], "bias": True}
    save_network(network, tmp_path / "net.safetensors")
    for loaded in (
        crrn.load(tmp_path / "net.safetensors", plugins=["strangers"]),
        crrn.from_pretrained(tmp_path / "net.safetensors", plugins=["strangers"]),
    ):
        assert type(loaded) is type(network) and not loaded.training
        assert torch.equal(loaded.layer.weight, network.layer.weight)
        assert estimates_of(loaded) == ("background",)
    plugins.allow(["strangers"])
    assert torch.equal(crrn.load(tmp_path / "net.safetensors").layer.bias, network.layer.bias)


def test_an_installed_package_announces_itself(package, tmp_path):
    info = package.parent / "strangers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[crrn.plugins]\nstrangers = strangers\n")
    assert record_of(build_network({"_target_": "strangers.nets.Net"}))["channels"] == 4


@pytest.mark.parametrize("layout", ["project/project", "project", "."])
def test_a_package_in_the_current_folder_is_found(layout, tmp_path, monkeypatch):
    place = tmp_path / layout
    place.mkdir(parents=True, exist_ok=True)
    name = "project" if layout != "." else "single"
    (place / ("nets.py" if layout != "." else "single.py")).write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(plugins, "_named", set())
    plugins.allow([name])
    target = f"{name}.nets.Net" if layout != "." else "single.Net"
    try:
        assert record_of(build_network({"_target_": target}))["_target_"] == target
    finally:
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            del sys.modules[module]


def test_packages_that_are_not_there():
    for given, words in (
        ("mylab", r"plugins=\[mylab\]"),
        (["no_such_package"], "PYTHONPATH"),
        ([3], "there is no package 3"),
        (["../x"], "there is no package"),
    ):
        with pytest.raises(ConfigError, match=words):
            plugins.allow(given)


def test_records_are_light_to_compare():
    assert record_of(CRRN(1 / 32).iin) == record_of(IiN(1 / 32, gradient_features=True))
    assert record_of(CRRN(1 / 32).gin) == record_of(GiN(1 / 32))


def test_nothing_is_imported_to_know_the_installed_packages():
    script = "import sys; from crrn.plugins import is_allowed; is_allowed('strangers.x'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
