"""`crrn.remove`: each kind of image comes back as that kind, with what the predictor gives."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import write_photo
from tests.networks import lively

import crrn
from crrn.errors import ConfigError, CrrnError, DataError
from crrn.inference import remove as module
from crrn.inference.predictor import Predictor
from crrn.nets import Prediction, save_network
from crrn.nets.prediction import set_prediction
from crrn.solvers import SOLVERS


@pytest.fixture(scope="module")
def network() -> crrn.CRRN:
    network = lively("crrn")
    torch.nn.init.constant_(network.iin.head[1].bias, 0.05)  # type: ignore[union-attr, index, arg-type]
    set_prediction(network, Prediction(32, 80))
    return network  # type: ignore[return-value]


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, Any]:
    """(48, 64, 4), 16 bits, smooth and not grey."""
    y, x = np.mgrid[:48, :64]
    waves = [np.sin(x / 9 + n) + np.cos(y / (7 + n)) for n in range(4)]
    return (np.stack(waves, -1) * 12000 + 32768).astype(np.uint16)


def expected(network: Any, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(H, W, 3) in [0, 1] of (H, W, 3) in [0, 1]."""
    mixture = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32))[None]
    background = Predictor(network)(mixture).background
    assert background is not None
    return background[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64, np.float16])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_arrays(network: crrn.CRRN, pixels: np.ndarray, kind: type, channels: int | None) -> None:
    top = 65535 if kind == np.uint16 else 255 if kind == np.uint8 else 1
    image = (pixels / 65535 * top).astype(kind)
    image = image[..., 0] if channels is None else image[..., :channels]
    before = image.copy()
    result = crrn.remove(image, network)
    assert result.dtype == image.dtype and result.shape == image.shape
    np.testing.assert_array_equal(image, before)
    planes = image.astype(np.float32) / top
    if channels in (None, 1):
        wanted = expected(network, np.repeat(planes.reshape(48, 64, 1), 3, axis=2)).mean(-1).reshape(image.shape)
        np.testing.assert_allclose(result / top, wanted, rtol=0, atol=0.51 / min(top, 255) if top > 1 else 1e-3)
    else:
        wanted = expected(network, planes[..., :3])
        assert np.abs(wanted - planes[..., :3]).max() > 0.02
        np.testing.assert_allclose(
            result[..., :3] / top, wanted, rtol=0, atol=0.51 / top if top > 1 else 1e-3 if kind == np.float16 else 1e-6
        )
        np.testing.assert_array_equal(result[..., 3:], image[..., 3:])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16"])
def test_pil_images_keep_their_mode(network: crrn.CRRN, pixels: np.ndarray, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0])
    else:
        image = Image.fromarray((pixels // 257).astype(np.uint8)).convert(mode)
    image.info["icc_profile"] = b"profile"
    result = crrn.remove(image, network)
    assert result.mode == mode and result.size == image.size and result.info == {"icc_profile": b"profile"}
    np.testing.assert_array_equal(np.asarray(result), crrn.remove(np.asarray(image), network))
    if mode in ("RGBA", "LA"):
        np.testing.assert_array_equal(np.asarray(result)[..., -1], np.asarray(image)[..., -1])


@pytest.mark.parametrize(("mode", "becomes"), [("P", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("1", "L")])
def test_other_pil_modes_are_converted(pixels: np.ndarray, mode: str, becomes: str) -> None:
    image = Image.fromarray((pixels[..., :3] // 257).astype(np.uint8)).convert(mode)
    result = crrn.remove(image, "identity")
    assert result.mode == becomes
    np.testing.assert_array_equal(np.asarray(result), np.asarray(image.convert(becomes)))


def test_a_transparent_palette_becomes_rgb_with_alpha() -> None:
    image = Image.new("P", (8, 6), 3)
    image.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2, 200, 100, 50])
    image.info["transparency"] = 3
    result = crrn.remove(image, "identity")
    assert result.mode == "RGBA" and result.getpixel((0, 0)) == (200, 100, 50, 0) and not result.info


def test_tensors_in_batches_on_their_device(network: crrn.CRRN, pixels: np.ndarray) -> None:
    batch = torch.from_numpy(pixels.astype(np.float64) / 65535).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    batch[1] = batch[1].flip(-1)
    batch.requires_grad_()
    result = crrn.remove(batch, network)
    assert result.dtype == torch.float64 and result.shape == batch.shape and not result.requires_grad
    for number in range(2):
        one = crrn.remove(batch[number], network)
        assert torch.equal(one, result[number])
        array = np.ascontiguousarray(batch[number].detach().permute(1, 2, 0).numpy())
        np.testing.assert_array_equal(crrn.remove(array, network), one.permute(1, 2, 0).numpy())
    bytes_ = (batch.detach() * 255).to(torch.uint8)
    assert torch.equal(crrn.remove(bytes_, "identity"), bytes_)
    assert torch.equal(crrn.remove(bytes_[:, :1], "identity"), bytes_[:, :1])


def test_a_path_gives_a_picture_and_writes_nothing(network: crrn.CRRN, tmp_path: Path) -> None:
    write_photo(tmp_path / "photo.jpg", 0)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    exif = Image.Exif()
    exif[274] = 6  # turned to the right by its EXIF
    with Image.open(tmp_path / "photo.jpg") as picture:
        picture.save(tmp_path / "turned.png", exif=exif)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    result = crrn.remove(tmp_path / "photo.jpg", network)
    with Image.open(tmp_path / "photo.jpg") as picture:
        assert result.size == picture.size
        np.testing.assert_array_equal(np.asarray(result), np.asarray(crrn.remove(picture, network)))
    turned = crrn.remove(str(tmp_path / "turned.png"), "identity")
    with Image.open(tmp_path / "turned.png") as picture:
        np.testing.assert_array_equal(np.asarray(turned), np.rot90(np.asarray(picture), -1))
    assert turned.info["exif"]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_photo_of_16_bits_becomes_a_picture_of_8(tmp_path: Path, pixels: np.ndarray) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "deep.png"), pixels[..., :3][..., ::-1])
    result = np.asarray(crrn.remove(tmp_path / "deep.png", "identity"))
    np.testing.assert_array_equal(result, np.rint(pixels[..., :3] / 257).astype(np.uint8))


def test_strength_reflection_and_working_size(network: crrn.CRRN, pixels: np.ndarray) -> None:
    image = np.ascontiguousarray(pixels[..., :3].astype(np.float32) / 65535)
    full = crrn.remove(image, network, strength=100)
    np.testing.assert_array_equal(crrn.remove(image, network, strength=0), image)
    np.testing.assert_allclose(crrn.remove(image, network, 80), image + 0.8 * (full - image), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(crrn.remove(image, network), crrn.remove(image, network, 80))  # its own
    native = crrn.remove(image, network, 100, working_size="native")
    mixture = torch.from_numpy(image.transpose(2, 0, 1))[None]
    with torch.no_grad():
        background, reflection, _ = network(mixture)
    np.testing.assert_allclose(native, background[0].clamp(0, 1).permute(1, 2, 0).numpy(), rtol=0, atol=1e-5)
    again, layer = crrn.remove(image, network, 100, return_reflection=True, working_size="native")
    np.testing.assert_array_equal(again, native)
    np.testing.assert_allclose(layer, reflection[0].clamp(0, 1).permute(1, 2, 0).numpy(), rtol=0, atol=1e-5)


def test_models_by_name_and_file_are_loaded_once(
    network: crrn.CRRN, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = (pixels[..., :3] // 257).astype(np.uint8)
    loads: list[str] = []
    load = module.load_remover
    monkeypatch.setattr(module, "load_remover", lambda name, *more: (loads.append(name), load(name, *more))[1])
    module._loaded.cache_clear()
    path = tmp_path / "net.safetensors"
    save_network(network, path)
    first = crrn.remove(image, path)
    np.testing.assert_array_equal(first, crrn.remove(image, str(path), strength=80))
    np.testing.assert_array_equal(first, crrn.remove(image, network))
    assert loads == [str(path)]
    save_network(network, path, Prediction(None, 0))  # another file of that name is another model
    np.testing.assert_array_equal(crrn.remove(image, path), image)
    for model in (None, "yl19", None, "yl19"):
        crrn.remove(image, model)
    default = next(one.name for one in crrn.models() if one.default)
    assert loads == [str(path), str(path), *dict.fromkeys([default, "yl19"])]
    wanted = Predictor(SOLVERS["yl19"]())(torch.from_numpy(image.transpose(2, 0, 1))[None] / 255).background
    assert wanted is not None
    np.testing.assert_array_equal(crrn.remove(image, "yl19"), (wanted[0] * 255).round().byte().permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "NoneType"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\) is not an image.*image.transpose\(1, 2, 0\)"),
        (np.zeros((8,), np.uint8), r"shape \(8,\) is not an image"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\) is not an image"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.full((8, 8, 3), 200.0), r"200.*\[0, 1\]"),
        (np.full((8, 8, 3), np.nan), r"nan.*\[0, 1\]"),
        (torch.zeros(8, 8, 3), r"tensor of shape \(8, 8, 3\) is not an image.*image.permute\(2, 0, 1\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int32), "torch.int32"),
        (Image.new("F", (8, 8)), "mode F"),
        ("nowhere.jpg", "nowhere.jpg"),
    ],
)
def test_what_is_no_image(image: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        crrn.remove(image, "identity")


def test_wrong_settings() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    for options, said in (
        ({"model": "nothing"}, "nothing"),
        ({"model": "yl19", "strength": 200}, "strength=200"),
        ({"model": "yl19", "working_size": 3}, "working_size=3"),
        ({"model": lively("gin")}, "estimates no background"),
        ({"model": "yl19", "device": "tpu7"}, "device=tpu7"),
    ):
        with pytest.raises(ConfigError, match=said):
            crrn.remove(image, **options)  # type: ignore[call-overload]
    assert issubclass(ConfigError, CrrnError)


def test_the_examples_of_the_docstring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path / "photo.jpg", 0)
    names = {"crrn": crrn, "np": np, "torch": torch, "Image": Image}
    (example,) = doctest.DocTestFinder(recurse=False).find(crrn.remove, "crrn.remove", globs=names)
    assert len(example.examples) >= 8
    assert doctest.DocTestRunner().run(example).failed == 0


LIGHT = """
import sys
import numpy
import crrn
assert "torch" not in sys.modules
crrn.remove(numpy.zeros((40, 50, 3), numpy.uint8))
crrn.remove(numpy.zeros((40, 50, 3), numpy.uint8), crrn.CRRN(1 / 32).eval())
crrn.remove(numpy.zeros((40, 50, 3), numpy.uint8), sys.argv[1])
heavy = {"torch._dynamo", "hydra", "omegaconf", "lightning", "torchvision", "torchmetrics", "wandb", "albumentations"}
print(*heavy & sys.modules.keys())
"""


@pytest.mark.slow
def test_removing_imports_no_training(tmp_path: Path) -> None:
    save_network(crrn.CRRN(1 / 32), tmp_path / "net.safetensors")
    command = [sys.executable, "-c", LIGHT, str(tmp_path / "net.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_import_takes_less_than_a_fifth_of_a_second() -> None:
    """The best of three, as the machine may be busy."""
    script = "import time; begun = time.perf_counter(); import crrn; print(time.perf_counter() - begun)"
    took = [float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(3)]
    assert min(took) < 0.2


@pytest.mark.slow
def test_help_begins_like_a_page() -> None:
    text = subprocess.check_output([sys.executable, "-c", "import crrn; help(crrn)"], text=True)
    head = text.splitlines()[:40]
    for words in ("Remove reflections from photos", 'crrn.remove("photo.jpg")', "crrn.models()", "crrn.load("):
        assert any(words in line for line in head), words
    assert "remove(" in text and "models(" in text
