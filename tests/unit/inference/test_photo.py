"""Photos keep what they hold: checked against Pillow and OpenCV reading what we wrote, and files made by both."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

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


KINDS = [(suffix, bits, channels) for suffix in (".png", ".tiff") for bits in (8, 16) for channels in (1, 3, 4)]


@pytest.mark.parametrize(
    ("suffix", "bits", "channels"),
    [*KINDS, (".webp", 8, 3), (".webp", 8, 4), (".bmp", 8, 1), (".bmp", 8, 3), (".bmp", 8, 4)],
)
def test_every_pixel_survives(tmp_path: Path, suffix: str, bits: int, channels: int) -> None:
    given = pixels(bits, channels)
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    if suffix == ".bmp" and channels == 4:
        cv2.imwrite(str(source), cv2.cvtColor(given, _to_bgr(channels)))  # Pillow drops the transparency
    elif bits == 8:
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
            assert image.format == {".png": "PNG", ".tiff": "TIFF", ".webp": "WEBP", ".bmp": "BMP"}[suffix]
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
    with pytest.raises(DataError, match="RGB"):
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
    deep = replace(photo, pixels=pixels(16, 3))
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


def smooth(channels: int = 3) -> np.ndarray[Any, Any]:
    """Slopes, which lossy formats hardly change."""
    ramp = np.linspace(0, 255, 96, dtype=np.uint8)
    return np.ascontiguousarray(np.stack([np.tile(np.roll(ramp, 7 * k), (64, 1)) for k in range(channels)], axis=2))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif(tmp_path: Path, channels: int) -> None:
    given = smooth(channels).squeeze()
    Image.fromarray(given).save(tmp_path / "in.avif", quality=95, exif=exif(6), icc_profile=ICC)
    photo = read_photo(tmp_path / "in.avif")
    assert photo.format == "AVIF" and not photo.lossless
    assert (photo.height, photo.width) == (96, 64), "turned upright"
    assert (photo.grey, photo.alpha is not None) == (channels == 1, channels == 4)
    assert np.abs(photo.pixels.astype(int) - np.rot90(given if photo.grey else given[..., :3], -1)).mean() < 3
    write_photo(tmp_path / "out.avif", photo.mixture(), photo)
    with Image.open(tmp_path / "out.avif") as image:
        assert image.format == "AVIF" and image.size == (64, 96)
        assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert image.getexif()[ExifTags.Base.Make] == "Maker"
        assert image.info["icc_profile"] == ICC
        assert np.abs(np.asarray(image).astype(int) - np.rot90(given, -1)).mean() < 4


def webp_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def test_webp_is_lossless_by_its_header(tmp_path: Path) -> None:
    lossy, lossless = tmp_path / "lossy.webp", tmp_path / "lossless.webp"
    Image.fromarray(smooth()).save(lossy, xmp=XMP.replace(b"Ann", b"VP8L"))
    assert b"VP8L" in lossy.read_bytes() and not read_photo(lossy).lossless
    Image.fromarray(smooth()).save(lossless, lossless=True, icc_profile=ICC + bytes(100_001 - len(ICC)))
    assert lossless.read_bytes().index(b"VP8L") > 1 << 16 and read_photo(lossless).lossless
    parts = lossy.read_bytes()[12:30] + webp_chunk(b"ODD ", b"VP8L\0") + lossy.read_bytes()[30:]
    lossy.write_bytes(b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts)  # an unknown chunk is no matter
    assert not read_photo(lossy).lossless


XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"
 xmlns:own="http://example.org/" xmp:Rating="4" tiff:Orientation="1" tiff:Make="Maker" hdrgm:Version="1.0"
 GPano:ProjectionType="equirectangular" own:preview="%s">
<dc:creator><rdf:Seq><rdf:li>Ann &amp; Bob \xc3\xa9</rdf:li></rdf:Seq></dc:creator>
<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource"><xmpGImg:format>JPEG</xmpGImg:format>
<xmpGImg:image>/9j/THUMB</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""" % (b"QUJD" * 2000)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".16.png", ".tiff", ".16.tiff", ".webp", ".avif", ".heic"])
def test_xmp_is_kept_without_its_thumbnail(tmp_path: Path, suffix: str) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    options: dict[str, Any] = {"xmp": XMP}
    if suffix.endswith(".png"):
        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif suffix.endswith(".tiff"):
        options = {"tiffinfo": {700: XMP}}
    Image.fromarray(smooth()).save(source, **options)
    photo = read_photo(source)
    if ".16" in suffix:
        photo = replace(photo, pixels=photo.pixels.astype(np.uint16) * 257)
    write_photo(target, photo.mixture(), photo)
    with Image.open(target) as image:
        kept = image.info["xmp"]
    assert b"THUMB" not in target.read_bytes() and b"QUJDQUJD" not in kept
    tree = ElementTree.fromstring(kept)
    assert {node.text for node in tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li")} == {"Ann & Bob é"}
    (about,) = tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert {name.rpartition("}")[2]: value for name, value in about.items()} == {
        "about": "",
        "Rating": "4",
        "Make": "Maker",
        "ProjectionType": "equirectangular",
    }
    assert b"<x:xmpmeta" in kept and kept.startswith(b"<?xpacket") and b"xmp:Rating" in kept


def test_an_orientation_in_xmp_turns_the_photo_once(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "in.jpg", xmp=XMP.replace(b'Orientation="1"', b'Orientation="6"'))
    photo = read_photo(tmp_path / "in.jpg")
    assert (photo.height, photo.width) == (96, 64)
    write_photo(tmp_path / "out.jpg", photo.mixture(), photo)
    again = read_photo(tmp_path / "out.jpg")
    assert (again.height, again.width) == (96, 64) and again.xmp is not None


BAD_XMP: dict[str, bytes] = {
    "entities": b'<!DOCTYPE x [<!ENTITY a "aa">]><x>&a;</x>',
    "no end": XMP[:900],
    "no text": b"\xff\xfe<\0x\0/\0>\0",
    "deep": b"<a>" * 20_000 + b"</a>" * 20_000,
    "large": b"<a>" + b"b" * (1 << 20) + b"</a>",
}


@pytest.mark.parametrize("packet", BAD_XMP.values(), ids=BAD_XMP)
def test_xmp_that_cannot_be_read_is_left_out(packet: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(smooth()).save(tmp_path / "in.webp", xmp=packet)
    photo = read_photo(tmp_path / "in.webp")
    assert photo.xmp is None and "XMP" in caplog.text


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".16.png", ".tiff", ".16.tiff", ".bmp", ".32.bmp"])
def test_dpi_are_kept(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    Image.fromarray(smooth()).save(source, dpi=(300, 150))
    photo = read_photo(source)
    if ".16" in suffix:
        photo = replace(photo, pixels=photo.pixels.astype(np.uint16) * 257)
    if ".32" in suffix:
        photo = replace(photo, alpha=photo.pixels[..., 0])
    write_photo(target, photo.mixture(), photo)
    with Image.open(target) as image:
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)  # whole pixels per metre
        if ".32" in suffix:
            np.testing.assert_array_equal(np.asarray(image), np.dstack((smooth(), smooth()[..., 0])))


def test_dpi_that_a_file_does_not_tell_are_not_made_up(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif())
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.info["dpi"] == (72, 72), "Pillow's guess"
    assert read_photo(tmp_path / "a.jpg").dpi is None


def test_a_makers_note_with_a_picture_is_left_out(tmp_path: Path) -> None:
    for note, kept in ((b"Maker\xff\xd8\xff\xe0preview", False), (b"Maker's settings", True)):
        block = exif()
        block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = note
        Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=block)
        photo = read_photo(tmp_path / "a.jpg")
        assert photo.exif is not None and (note in photo.exif) == kept and b"Maker\0" in photo.exif


def test_metadata_too_large_for_a_jpeg_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo = replace(
        read_photo(_saved(tmp_path / "a.jpg", smooth())), xmp=bytes(70_000), exif=b"Exif\0\0" + bytes(70_000)
    )
    write_photo(tmp_path / "b.jpg", photo.mixture(), photo)
    assert "XMP of 70000 bytes" in caplog.text and "EXIF of 70006 bytes" in caplog.text
    assert read_photo(tmp_path / "b.jpg").exif is None


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
