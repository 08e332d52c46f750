"""Photos keep what they hold: checked against Pillow and OpenCV reading what we wrote, and files made by both."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps

from crrn.errors import DataError
from crrn.inference.photo import read_photo, write_photo

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(bits: int, channels: int, height: int = 20, width: int = 31) -> np.ndarray[Any, Any]:
    shape = (height, width) if channels == 1 else (height, width, channels)
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(bits + channels).integers(0, 2**bits, shape).astype(kind)


def exif(orientation: int = 1, size: tuple[int, int] = (31, 20)) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Make] = "Maker"
    block[ExifTags.Base.Orientation] = orientation
    details = block.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight] = size
    details[ExifTags.Base.DateTimeOriginal] = "2026:01:02 03:04:05"
    block.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    return block


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_pixel_survives(tmp_path: Path, suffix: str, bits: int, channels: int) -> None:
    if suffix == ".webp" and (bits == 16 or channels == 1):
        pytest.skip("WebP has no such kind")
    given = pixels(bits, channels)
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    if bits == 8:
        Image.fromarray(given).save(source, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    elif suffix == ".png":
        cv2.imwrite(str(source), given if channels == 1 else cv2.cvtColor(given, _to_bgr(channels)))
    else:
        _tiff16(source, given)
    photo = read_photo(source)
    assert (photo.bits, photo.grey, photo.alpha is not None) == (bits, channels == 1, channels == 4)
    assert photo.lossless
    write_photo(target, photo.mixture(), photo)

    # read by others
    if bits == 8:
        with Image.open(target) as image:
            assert image.format == {".png": "PNG", ".tiff": "TIFF", ".webp": "WEBP"}[suffix]
            np.testing.assert_array_equal(np.asarray(image), given)
    else:
        written = cv2.imdecode(np.fromfile(target, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(written if channels == 1 else cv2.cvtColor(written, _to_bgr(channels)), given)
    again = read_photo(target)
    np.testing.assert_array_equal(again.pixels, given if channels == 1 else given[..., :3])


def _to_bgr(channels: int) -> int:
    return cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_RGBA2BGRA


def _tiff16(path: Path, given: np.ndarray[Any, Any]) -> None:
    tifffile = pytest.importorskip("tifffile")
    alpha = {"extrasamples": ["unassalpha"]} if given.ndim == 3 and given.shape[2] == 4 else {}
    photometric = "minisblack" if given.ndim == 2 else "rgb"
    tifffile.imwrite(path, given, photometric=photometric, **alpha)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff"])
def test_photos_come_and_stay_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    Image.fromarray(pixels(8, 3)).save(source, exif=exif(orientation).tobytes(), icc_profile=ICC)
    with Image.open(source) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    photo = read_photo(source)
    np.testing.assert_array_equal(photo.pixels, upright)
    write_photo(target, photo.mixture(), photo)
    with Image.open(target) as image:
        written = image.getexif()
        assert written[ExifTags.Base.Orientation] == 1
        assert written[ExifTags.Base.Make] == "Maker"
        details = written.get_ifd(ExifTags.IFD.Exif)
        assert details[ExifTags.Base.DateTimeOriginal] == "2026:01:02 03:04:05"
        assert (details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight]) == image.size
        assert written.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        assert image.info["icc_profile"] == ICC
        if suffix != ".jpg":
            np.testing.assert_array_equal(np.asarray(image), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bits_come_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    given = pixels(8, 3)
    Image.fromarray(given).save(tmp_path / f"like{suffix}", exif=exif(orientation).tobytes())
    with Image.open(tmp_path / f"like{suffix}") as image:
        upright = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16) * 257
    source = tmp_path / f"in{suffix}"
    if suffix == ".tiff":
        tifffile = pytest.importorskip("tifffile")
        turn = [(int(ExifTags.Base.Orientation), "H", 1, orientation, True)]
        tifffile.imwrite(source, given.astype(np.uint16) * 257, photometric="rgb", extratags=turn)
    else:
        content = cv2.imencode(".png", cv2.cvtColor(given.astype(np.uint16) * 257, cv2.COLOR_RGB2BGR))[1].tobytes()
        source.write_bytes(content[:33] + chunk(b"eXIf", exif(orientation).tobytes()[6:]) + content[33:])
    photo = read_photo(source)
    np.testing.assert_array_equal(photo.pixels, upright)
    write_photo(tmp_path / f"out{suffix}", photo.mixture(), photo)
    np.testing.assert_array_equal(read_photo(tmp_path / f"out{suffix}").pixels, upright)


def test_odd_tiffs(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    deep, path = pixels(16, 1), tmp_path / "a.tiff"
    tifffile.imwrite(path, deep, photometric="miniswhite")
    np.testing.assert_array_equal(read_photo(path).pixels, 65535 - deep)

    colours, alpha = pixels(16, 3), np.maximum(pixels(16, 1) | 0x8000, 1)
    premultiplied = (colours * (alpha / 65535)[..., None]).round().astype(np.uint16)
    tifffile.imwrite(path, np.dstack((premultiplied, alpha)), photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photo(path)
    assert np.abs(photo.pixels.astype(int) - colours).max() <= 1 and photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, alpha)

    planes = np.ascontiguousarray(colours.transpose(2, 0, 1))
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(DataError, match="separate planes"):
        read_photo(path)
    tifffile.imwrite(path, colours.astype(np.float32), photometric="rgb")
    with pytest.raises(DataError, match="convert it to RGB or grey"):
        read_photo(path)

    # a place in the file that has 16 in its number is no depth
    file = io.BytesIO()
    Image.fromarray(pixels(8, 3, 9, 9)).save(file, "TIFF", compression="tiff_lzw")
    content = bytearray(file.getvalue())
    (start,) = struct.unpack_from("<I", content, 4)
    directory = content[start : start + 2 + 12 * struct.unpack_from("<H", content, start)[0] + 4]
    content[4:8] = struct.pack("<I", 1600)
    path.write_bytes(content + bytes(1600 - len(content)) + directory)
    np.testing.assert_array_equal(read_photo(path).pixels, pixels(8, 3, 9, 9))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_files_keep_profile_and_exif(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    Image.fromarray(pixels(8, 3)).save(source, exif=exif(6).tobytes(), icc_profile=ICC)
    photo = read_photo(source)
    deep = type(photo)(pixels(16, 3), None, photo.icc, photo.exif, photo.format)
    write_photo(target, deep.mixture(), deep)
    again = read_photo(target)
    np.testing.assert_array_equal(again.pixels, deep.pixels)
    assert again.icc == ICC
    with Image.open(target) as image:
        assert image.getexif()[ExifTags.Base.Make] == "Maker"
        assert image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2026:01:02 03:04:05"


def test_the_thumbnail_of_the_reflection_is_left_out(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.fromarray(pixels(8, 3)).save(thumbnail, "JPEG")
    # an EXIF block by hand: IFD0 with the make, then IFD1 with a JPEG
    entries = struct.pack("<HHHI4s", 1, 0x010F, 2, 4, b"Abc\0") + struct.pack("<I", 8 + 2 + 12 + 4)
    second = struct.pack("<HHHII", 2, 0x0201, 4, 1, 8 + 18 + 30) + struct.pack("<HHII", 0x0202, 4, 1, thumbnail.tell())
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + entries + second + bytes(4) + thumbnail.getvalue()
    source, target = tmp_path / "in.jpg", tmp_path / "out.jpg"
    Image.fromarray(pixels(8, 3)).save(source, exif=block)
    photo = read_photo(source)
    write_photo(target, photo.mixture(), photo)
    assert thumbnail.getvalue() in source.read_bytes()
    assert thumbnail.getvalue() not in target.read_bytes()
    with Image.open(target) as image:
        assert image.getexif()[ExifTags.Base.Make] == "Abc"


def test_palettes_and_cmyk_become_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(pixels(8, 3))
    picture.quantize(16).save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as image:
        np.testing.assert_array_equal(read_photo(tmp_path / "palette.png").pixels, np.asarray(image.convert("RGB")))
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert read_photo(tmp_path / "cmyk.jpg").pixels.shape == (20, 31, 3)
    Image.fromarray(pixels(8, 1)).convert("LA").save(tmp_path / "la.png")
    photo = read_photo(tmp_path / "la.png")
    assert photo.grey and photo.alpha is not None


def test_one_transparent_level_becomes_alpha(tmp_path: Path) -> None:
    given = pixels(8, 1)
    level = int(given[3, 4])
    Image.fromarray(given).save(tmp_path / "a.png", transparency=level)
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.pixels, given)
    np.testing.assert_array_equal(photo.alpha, np.where(given == level, 0, 255))
    deep = pixels(16, 1)
    content = cv2.imencode(".png", deep)[1].tobytes()
    (tmp_path / "b.png").write_bytes(content[:33] + chunk(b"tRNS", struct.pack(">H", deep[3, 4])) + content[33:])
    photo = read_photo(tmp_path / "b.png")
    np.testing.assert_array_equal(photo.pixels, deep)
    np.testing.assert_array_equal(photo.alpha, np.where(deep == deep[3, 4], 0, 65535))


@pytest.mark.parametrize("size", [(1, 1), (51, 33)])
def test_heic_of_any_size_without_exif(tmp_path: Path, size: tuple[int, int]) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    Image.fromarray(np.full((*size, 3), 77, np.uint8)).save(tmp_path / "in.heic")
    photo = read_photo(tmp_path / "in.heic")
    assert photo.exif is None
    write_photo(tmp_path / "out.heic", photo.mixture(), photo)
    assert np.abs(read_photo(tmp_path / "out.heic").pixels.astype(int) - np.full((*size, 3), 77)).max() < 5


def test_heic(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    smooth = np.broadcast_to(np.linspace(0, 255, 96, dtype=np.uint8)[None, :, None], (64, 96, 3))
    Image.fromarray(np.ascontiguousarray(smooth)).save(tmp_path / "in.heic", exif=exif(), icc_profile=ICC)
    photo = read_photo(tmp_path / "in.heic")
    assert photo.format == "HEIF" and not photo.lossless
    write_photo(tmp_path / "out.heic", photo.mixture(), photo)
    again = read_photo(tmp_path / "out.heic")
    assert np.abs(again.pixels.astype(int) - smooth).mean() < 3
    assert again.icc == ICC and again.exif is not None and b"Maker" in again.exif


def test_values_are_rounded_and_clipped(tmp_path: Path) -> None:
    photo = read_photo(_saved(tmp_path / "a.png", pixels(8, 3, 1, 4)))
    image = torch.tensor([-1.0, 2.0, 100.4 / 255, 100.6 / 255]).expand(3, 1, 4)
    assert photo.with_pixels(image).pixels[0, :, 0].tolist() == [0, 255, 100, 101]


def _saved(path: Path, given: np.ndarray[Any, Any]) -> Path:
    Image.fromarray(given).save(path)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes of data cannot fill."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def broken(folder: Path) -> dict[str, str]:
    """Files that are no photos, and a word of what is said of each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.jpg").write_text("Dear photo,\n")
    (folder / "empty.jpg").touch()
    (folder / "bomb.png").write_bytes(png(60000, 60000))
    Image.fromarray(pixels(8, 3)).save(folder / "gif.png", "GIF")
    whole = io.BytesIO()
    Image.fromarray(pixels(8, 3, 200, 200)).save(whole, "JPEG")
    (folder / "torn.jpg").write_bytes(whole.getvalue()[: whole.tell() // 2])
    return {
        "text.jpg": "text",
        "empty.jpg": "empty",
        "bomb.png": "3600 megapixels",
        "gif.png": "GIF",
        "torn.jpg": "truncated",
    }


def test_what_is_no_photo_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for name, word in broken(tmp_path).items():
        with pytest.raises(DataError, match=word) as error:
            read_photo(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)
    deep = cv2.imencode(".png", pixels(16, 3, 99, 99))[1].tobytes()
    (tmp_path / "deep.png").write_bytes(deep[: len(deep) // 2])
    with pytest.raises(DataError, match="deep"):
        read_photo(tmp_path / "deep.png")
    pages = [Image.fromarray(pixels(8, 3)), Image.fromarray(pixels(8, 3) // 2)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="2 pictures"):
        read_photo(tmp_path / "pages.tiff")
    with pytest.raises(DataError, match="does not exist"):
        read_photo(tmp_path / "nothing.jpg")


def test_the_limit_of_megapixels_is_an_option(tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.png", pixels(8, 3, 100, 100))
    with pytest.raises(DataError, match="max_megapixels"):
        read_photo(path, max_megapixels=0.009)
    assert read_photo(path, max_megapixels=0.01).height == 100
