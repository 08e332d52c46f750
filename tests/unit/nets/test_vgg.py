"""The encoder and where its weights come from."""

import io
import logging
import urllib.error
from email.message import Message
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.vgg import make_layers
from torchvision.transforms.functional import normalize

from crrn.errors import WeightsError
from crrn.nets.vgg import VGG16

WAYS_OUT = ("try again with a connection", "net.encoder_weights=PATH", "net.encoder_weights=null")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights in the names and shapes of torchvision's VGG16 (59 MB), and a stand-in for its classifier."""
    plan = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
    features = make_layers(plan).state_dict()
    return {f"features.{name}": value for name, value in features.items()} | {"classifier.0.weight": torch.rand(2, 2)}


@pytest.fixture(scope="module")
def files(state, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vgg")
    features = {name: value for name, value in state.items() if name.startswith("features.")}
    paths = {name: folder / name for name in ("whole.pth", "legacy.pth", "features.safetensors", "bare.pth")}
    torch.save(state, paths["whole.pth"])
    torch.save(state, paths["legacy.pth"], _use_new_zipfile_serialization=False)
    save_file(features, paths["features.safetensors"])
    torch.save({name.removeprefix("features."): value for name, value in features.items()}, paths["bare.pth"])
    return paths


@pytest.mark.parametrize("name", ["whole.pth", "legacy.pth", "features.safetensors", "bare.pth"])
def test_weights_from_a_file(files, state, name, caplog):
    encoder = VGG16(1.0, str(files[name]))
    for key, value in encoder.features.state_dict().items():
        assert torch.equal(value, state[f"features.{key}"])
    assert caplog.records == []


def test_taps_are_the_pools_of_the_normalised_image():
    encoder = VGG16(1 / 16).eval()
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        taps = encoder(image)
        x = normalize(image, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        for tap, end in zip(taps, (5, 10, 17, 24, 31), strict=True):
            torch.testing.assert_close(tap, encoder.features[:end](x))
    assert [tuple(tap.shape[1:]) for tap in taps] == [(4, 32, 48), (8, 16, 24), (16, 8, 12), (32, 4, 6), (32, 2, 3)]


def test_imagenet_is_downloaded_once_with_its_hash(monkeypatch, files, tmp_path, state):
    calls = []

    def download(url, destination, hash_prefix, **_):
        calls.append((url, hash_prefix))
        Path(destination).write_bytes(files["whole.pth"].read_bytes())

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        encoder = VGG16(1.0, "imagenet")
    assert calls == [("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af")]
    assert (tmp_path / "checkpoints" / "vgg16-397923af.pth").is_file()
    assert torch.equal(encoder.features[0].weight, state["features.0.weight"])


class Response(io.BytesIO):
    """What `urlopen` would give, with the wrong bytes."""

    def info(self) -> Message:
        return Message()

    headers = Message()


def unreachable(*_, **__):
    raise urllib.error.URLError("Name or service not known")


@pytest.mark.parametrize(
    ("urlopen", "reason"),
    [(unreachable, "Name or service not known"), (lambda *_, **__: Response(b"not it"), "hash")],
)
def test_a_failed_download_names_three_ways_out(monkeypatch, tmp_path, urlopen, reason):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    with pytest.raises(WeightsError, match=reason) as caught:
        VGG16(1.0, "imagenet")
    assert all(way in str(caught.value) for way in WAYS_OUT)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_torn_download_is_named(monkeypatch, tmp_path):
    torn = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    torn.parent.mkdir()
    torn.write_bytes(b"half of it")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match="remove it") as caught:
        VGG16(1.0, "imagenet")
    assert str(torn) in str(caught.value)


def test_missing_foreign_and_misfit_files(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pth are missing") as caught:
        VGG16(1.0, tmp_path / "absent.pth")
    assert all(way in str(caught.value) for way in WAYS_OUT)
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        VGG16(1.0, text)
    other = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.rand(64, 3, 3, 3), "features.0.bias": torch.rand(32)}, other)
    with pytest.raises(WeightsError, match=r"25 weights differ in name or shape, '0\.bias' first"):
        VGG16(1.0, other)


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, hostile):
    path, marker = hostile(tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        VGG16(1.0, path)
    assert not marker.exists()


def test_weights_fit_the_papers_width_only(files):
    for weights in ("imagenet", files["whole.pth"]):
        with pytest.raises(WeightsError, match=r"net\.width=1 only, not 0\.5"):
            VGG16(0.5, weights)


def test_a_random_encoder_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING, logger="crrn"):
        VGG16(1 / 16)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "random weights" in caplog.text


def test_on_the_meta_device_nothing_is_loaded_or_said(caplog, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with torch.device("meta"):
        VGG16()
        VGG16(1.0, "imagenet")
    assert caplog.records == []
