"""Writing a photo as a file of its own kind."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from crrn.errors import DataError
from crrn.files import write_atomically
from crrn.inference.photo.formats import register_heif
from crrn.inference.photo.photo import ROWS, Photo

QUALITY = 95
"""Of JPEG, lossy WebP, AVIF and HEIC."""

JPEG_BLOCK = 65000
"""Bytes that EXIF, and XMP, may have in a JPEG."""

log = logging.getLogger("crrn")


def write_photo(path: str | Path, image: Tensor, like: Photo, quality: int = QUALITY) -> None:
    """Write an image as a photo like another: its format, bits, grey, alpha, colour profile, EXIF, XMP and DPI.

    PNG, TIFF, BMP and WebP that was lossless keep every level. The file appears whole or not at all.

    Args:
        path: the file; its suffix does not decide the format, `like` does.
        image: (3, H, W) or (1, H, W), or with a 1 in front; clipped to [0, 1].
        like: the photo.
        quality: of JPEG, lossy WebP, AVIF and HEIC, 1 to 100.

    Raises:
        RunError: the place cannot be written to.
        DataError: the format cannot hold a picture of this size.
    """
    with write_atomically(Path(path)) as file:
        encode(file, like.with_pixels(image), quality)


def encode(file: IO[bytes], photo: Photo, quality: int = QUALITY) -> None:
    """Write a photo into an open file; see `write_photo`."""
    try:
        if photo.format == "TIFF":
            _encode_tiff(file, photo)
        elif photo.format == "PNG" and photo.bits == 16:
            _encode_png16(file, photo)
        elif photo.format == "BMP" and photo.alpha is not None:
            _encode_bmp32(file, photo)
        else:
            _encode_by_pillow(file, photo, quality)
    except Exception as error:  # the encoders' own errors, of many kinds
        if isinstance(error, OSError) and error.errno is not None:  # as a full disk
            raise
        raise DataError(
            f"a picture of {photo.height}x{photo.width} pixels cannot be written as {photo.format} ({error}): "
            "convert the photo to PNG or TIFF."
        ) from error


def _picture(photo: Photo) -> Image.Image:
    pixels = photo.pixels
    if photo.alpha is not None:
        pixels = np.dstack((pixels, photo.alpha))
    return Image.fromarray(pixels)


def _encode_by_pillow(file: IO[bytes], photo: Photo, quality: int) -> None:
    options: dict[str, Any] = {
        "JPEG": {"quality": quality, "subsampling": 0, "optimize": True},
        "PNG": {"compress_level": 4},
        "WEBP": {"lossless": True, "exact": True} if photo.lossless else {"quality": quality, "exact": True},
        "AVIF": {"quality": quality, "subsampling": "4:0:0" if photo.grey else "4:4:4"},
        "HEIF": {"quality": quality},
        "BMP": {},
    }[photo.format]
    if photo.exif and _fits(photo, "EXIF", photo.exif):
        options["exif"] = photo.exif
    if photo.xmp and _fits(photo, "XMP", photo.xmp):
        options["xmp"] = photo.xmp
    if photo.dpi:
        options["dpi"] = photo.dpi
    if photo.format == "PNG" and photo.xmp:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", photo.xmp.decode())
    if photo.format == "HEIF":
        register_heif()
    _picture(photo).save(file, photo.format, icc_profile=photo.icc, **options)


def _fits(photo: Photo, name: str, block: bytes) -> bool:
    """Whether a block of metadata fits into the file. A warning says if a JPEG has no room for it."""
    fits = photo.format != "JPEG" or len(block) <= JPEG_BLOCK
    if not fits:
        log.warning("%s of %d bytes is left out, as a JPEG has room for %d", name, len(block), JPEG_BLOCK)
    return fits


def _encode_bmp32(file: IO[bytes], photo: Photo) -> None:
    """OpenCV writes a header with transparency, Pillow does not. DPI are then written into the header."""
    assert photo.alpha is not None
    colours = np.dstack([photo.pixels] * 3) if photo.grey else photo.pixels[..., ::-1]
    good, encoded = cv2.imencode(".bmp", np.dstack((colours, photo.alpha)))
    if not good:
        raise ValueError("with transparency")
    data = encoded.data.cast("B")
    if photo.dpi:
        data[38:46] = struct.pack("<2i", *_per_metre(photo.dpi))
    file.write(data)


def _encode_png16(file: IO[bytes], photo: Photo) -> None:
    """OpenCV writes the pixels; what belongs to them is put in as chunks behind the header. Grey with alpha is
    written as RGB with alpha, as OpenCV has no such kind."""
    channels = photo.pixels
    if photo.alpha is not None:
        colours = np.dstack([channels] * 3) if photo.grey else channels[..., ::-1]
        channels = np.dstack((colours, photo.alpha))
    elif not photo.grey:
        channels = channels[..., ::-1]
    good, encoded = cv2.imencode(".png", np.ascontiguousarray(channels), [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not good:
        raise ValueError("of 16 bits")
    data = encoded.data.cast("B")
    header = 8 + 12 + 13  # signature, and the chunk IHDR
    file.write(data[:header])
    if photo.icc:
        file.write(_png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc)))
    if photo.exif:
        file.write(_png_chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0")))
    if photo.xmp:
        file.write(_png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + photo.xmp))
    if photo.dpi:
        file.write(_png_chunk(b"pHYs", struct.pack(">2IB", *_per_metre(photo.dpi), 1)))
    file.write(data[header:])


def _per_metre(dpi: tuple[float, float]) -> tuple[int, int]:
    x, y = (round(number / 0.0254) for number in dpi)
    return x, y


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encode_tiff(file: IO[bytes], photo: Photo) -> None:
    """A little-endian TIFF, deflated in strips, 8 or 16 bits, EXIF in its own directories."""
    channels = photo.pixels if photo.alpha is None else np.dstack((photo.pixels, photo.alpha))
    count = 1 if channels.ndim == 2 else channels.shape[2]
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if photo.exif:
        exif = Image.Exif()
        exif.load(photo.exif)
        for tag in exif:
            value = exif.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else exif[tag]
            directory[tag] = value
    strips, offsets = [], [0]
    for top in range(0, photo.height, ROWS):
        rows = channels[top : top + ROWS]
        strip = zlib.compress(rows.astype(rows.dtype.newbyteorder("<")).tobytes(), 4)
        strips.append(strip)
        offsets.append(offsets[-1] + len(strip))
    layout: dict[int, Any] = {
        256: photo.width,
        257: photo.height,
        258: (photo.bits,) * count,
        259: 8,  # deflate
        262: 1 if photo.grey else 2,
        273: tuple(offsets[:-1]),  # from the directory's end; Pillow adds where that lies
        277: count,
        278: ROWS,
        279: tuple(len(strip) for strip in strips),
        284: 1,
    }
    if photo.alpha is not None:
        layout[338] = (2,)  # not premultiplied
    if photo.icc:
        layout[34675] = photo.icc
    if photo.xmp:
        layout[700] = photo.xmp
    for tag, value in layout.items():
        directory[tag] = value
    start = 8
    file.write(struct.pack("<2sHL", b"II", 42, start) + directory.tobytes(start))
    for strip in strips:
        file.write(strip)
