"""The encoder and the file of its ImageNet weights."""

import io
import urllib.error
from email.message import Message
from pathlib import Path

import pytest
import torch
from torchvision.transforms.functional import normalize

from crrn.errors import WeightsError
from crrn.nets.vgg import VGG16, imagenet_file

WAYS_OUT = ("try again with a connection", "init={iin.encoder: PATH}", "init=null")


def test_taps_are_the_pools_of_the_normalised_image():
    encoder = VGG16(1 / 16).eval()
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        taps = encoder(image)
        x = normalize(image, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        for tap, end in zip(taps, (5, 10, 17, 24, 31), strict=True):
            torch.testing.assert_close(tap, encoder.features[:end](x))
    assert [tuple(tap.shape[1:]) for tap in taps] == [(4, 32, 48), (8, 16, 24), (16, 8, 12), (32, 4, 6), (32, 2, 3)]


def test_imagenet_is_downloaded_once_with_its_hash(monkeypatch, tmp_path):
    calls = []

    def download(url, destination, hash_prefix, **_):
        calls.append((url, hash_prefix))
        Path(destination).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    paths = [imagenet_file() for _ in range(2)]
    assert calls == [("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af")]
    assert paths == [tmp_path / "checkpoints" / "vgg16-397923af.pth"] * 2


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
        imagenet_file()
    assert all(way in str(caught.value) for way in WAYS_OUT)
    assert list((tmp_path / "checkpoints").iterdir()) == []
