"""What the page does with a photo."""

import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import write_photo

from crrn.errors import ConfigError, DataError
from crrn.nets import CRRN, GiN, Prediction, save_network
from crrn.webpage.studio import KEEP_SECONDS, PREVIEW_SIDE, Studio, visible_gain


@pytest.fixture
def studio(tmp_path):
    """The identity, a solver and an untrained network, up to 4 megapixels."""
    save_network(CRRN(1 / 32), tmp_path / "small.safetensors")
    (tmp_path / "results").mkdir()
    return Studio(["identity", "yl19", str(tmp_path / "small.safetensors")], tmp_path / "results", 4)


def test_all_layers_at_full_size_in_the_photos_own_format(studio, tmp_path):
    photo = tmp_path / "window.png"
    write_photo(photo, 1, 90, 2000)
    told = []
    result = studio.remove(photo, "small", told.append)
    assert result.size == (90, 2000) and told[-1] == 1
    assert result.download.name == "window-background.png"
    with Image.open(result.download) as written, Image.open(photo) as given:
        assert written.format == "PNG" and written.size == given.size
        # an untrained network's background is its input
        assert np.abs(np.asarray(written, int) - np.asarray(given, int)).max() <= 1
    for path in (result.before, result.after, result.reflection, result.gradient):
        with Image.open(path) as preview:
            assert preview.size == (PREVIEW_SIDE, 72)


def test_a_remover_gives_the_layers_that_it_estimates(studio, tmp_path):
    write_photo(tmp_path / "a.jpg", 2)
    result = studio.remove(tmp_path / "a.jpg", "yl19")
    assert result.reflection is not None and result.gradient is None
    assert result.download.suffix == ".jpg"


def test_sixteen_bits_and_grey(studio, tmp_path):
    deep = np.linspace(0, 65535, 40 * 50).astype(np.uint16).reshape(40, 50)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    result = studio.remove(tmp_path / "deep.png", "identity")
    with Image.open(result.download) as written:
        assert np.array_equal(np.asarray(written), deep)
    with Image.open(result.before) as preview:
        assert preview.mode == "RGB" and np.asarray(preview).max() > 250


def png_header(height: int, width: int) -> bytes:
    """A PNG that says that it is huge."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", bytes(64)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"I am a poem, not a photo.\n", r"^poem\.jpg .*text"),
        (b"", r"^poem\.jpg .*empty"),
        (png_header(60_000, 60_000), r"^poem\.jpg .*3600 megapixels"),
        (png_header(2_001, 2_001), r"^poem\.jpg .*4 megapixels"),
        (png_header(20, 20)[:50], r"^poem\.jpg"),
    ],
)
def test_what_is_no_photo_is_one_sentence_without_the_servers_folders(studio, tmp_path, content, said):
    path = tmp_path / "poem.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        studio.remove(path, "identity")
    assert str(tmp_path) not in str(caught.value)
    assert not list(studio.folder.iterdir())


def test_results_are_forgotten_after_an_hour(studio, tmp_path):
    write_photo(tmp_path / "a.jpg", 3)
    old = studio.remove(tmp_path / "a.jpg", "identity").download.parent
    stamp = old.stat().st_mtime - KEEP_SECONDS - 1
    os.utime(old, (stamp, stamp))
    new = studio.remove(tmp_path / "a.jpg", "identity").download.parent
    assert new.is_dir() and not old.exists()


def test_another_strength_needs_no_remover(studio, tmp_path, monkeypatch):
    photo = tmp_path / "window.png"
    write_photo(photo, 1)
    result = studio.remove(photo, "yl19", strength=100)
    full = np.asarray(Image.open(result.download), float)
    monkeypatch.setattr(studio, "_predictor", None)  # not asked again
    photo.unlink()  # as Gradio deletes uploads
    given = np.asarray(Image.open(next(result.folder.glob("source.*"))), float)
    assert np.abs(full - given).max() > 5
    for strength in (50, 0, 150):
        after, download = studio.strengthen(result.folder, strength)
        assert after.name == f"after-{strength}.webp" and download == result.download
        wanted = (given + strength / 100 * (full - given)).clip(0, 255)
        assert np.abs(np.asarray(Image.open(download), float) - wanted).max() <= 0.51
    for file in result.folder.iterdir():
        file.unlink()
    with pytest.raises(DataError, match="deleted"):
        studio.strengthen(result.folder, 50)


def test_the_first_strength_is_the_networks_own(tmp_path):
    network = CRRN(1 / 32)
    torch.nn.init.constant_(network.iin.head[-1].bias, 0.2)
    save_network(network, tmp_path / "own.safetensors", Prediction(32, 50))
    (tmp_path / "results").mkdir()
    studio = Studio([str(tmp_path / "own.safetensors")], tmp_path / "results", 4)
    assert studio.strengths == {"own": 50} and studio.about("own") == "Your network"
    photo = tmp_path / "grey.png"
    Image.new("RGB", (80, 60), (200, 200, 200)).save(photo)
    pixels = np.asarray(Image.open(studio.remove(photo, "own").download), int)
    assert np.abs(pixels - (200 - 0.1 * 255)).max() <= 1  # half of 0.2


def test_faint_reflections_are_brightened(studio, tmp_path):
    assert visible_gain(torch.full((1, 3, 9, 9), 0.3)) == pytest.approx(3)
    assert visible_gain(torch.full((1, 3, 9, 9), 0.95)) == 1
    assert visible_gain(torch.zeros(1, 3, 9, 9)) == 8
    photo = tmp_path / "window.png"
    write_photo(photo, 1)
    result = studio.remove(photo, "yl19")
    assert 1 < result.brightened <= 8
    shown = np.asarray(Image.open(result.reflection), float)
    assert np.quantile(shown, 0.99) > 0.8 * 255 or result.brightened == 8


def test_several_photos_of_which_one_is_broken(studio, tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b/a.png", "bad.png")]
    for number, path in enumerate(paths[:2]):
        write_photo(path, number)
    paths[2].write_bytes(b"")
    told = []
    results, archive, problems = studio.remove_many(paths, "identity", told.append)
    assert [name for _, name in results] == ["a.png", "a.png"] and told == [1 / 3, 2 / 3, 1]
    assert problems == [problems[0]] and problems[0].startswith("bad.png ")
    with zipfile.ZipFile(archive) as file:
        assert file.namelist() == ["a.png", "2-a.png"] and file.testzip() is None
    assert studio.remove_many(paths[2:], "identity")[:2] == ([], None)


def test_what_cannot_be_offered(tmp_path):
    for removers, said in (([], "No remover"), (["yl19", "yl19"], "Two removers"), (["nobody"], "nobody")):
        with pytest.raises(ConfigError, match=said):
            Studio(removers, tmp_path, 4)
    with pytest.raises(ConfigError, match="max_megapixels=0"):
        Studio(["yl19"], tmp_path, 0)
    save_network(GiN(1 / 32), tmp_path / "gin.safetensors")
    with pytest.raises(ConfigError, match="estimates no background"):
        Studio([str(tmp_path / "gin.safetensors")], tmp_path, 4)


def test_a_remover_that_is_not_offered(studio, tmp_path):
    write_photo(tmp_path / "a.jpg", 3)
    with pytest.raises(ConfigError, match="nr17"):
        studio.remove(tmp_path / "a.jpg", "nr17")
