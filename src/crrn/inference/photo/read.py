"""Reading a photo with all that belongs to it."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from crrn.errors import DataError
from crrn.files import BoundedFile
from crrn.inference.photo.formats import FORMATS, NAMES, register_heif
from crrn.inference.photo.metadata import TURNED, read_dpi, read_exif, read_xmp
from crrn.inference.photo.photo import Photo

MAX_MEGAPIXELS = 200.0
"""Larger photos are refused before they are decoded, unless asked for."""

_BITS, _INTERPRETATION, _PLANES, _EXTRA_SAMPLES = 258, 262, 284, 338

_OTHERS = {b"GIF8": "GIF", b"\0\0\0\x0cjP": "JPEG 2000", b"\xff\x0a": "JPEG XL", b"8BPS": "Photoshop", b"%PDF": "PDF"}
"""How files begin that are taken for photos now and then."""
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")

_limit_lock = threading.Lock()


def read_photo(path: str | Path, max_megapixels: float = MAX_MEGAPIXELS) -> Photo:
    """Decode a photo: JPEG, PNG, WebP, TIFF, BMP, AVIF, and HEIC where pillow-heif is installed (the extra `heic`).

    Turned as its EXIF orientation says. 16 bits stay 16; palettes become RGB; CMYK becomes sRGB.

    Args:
        path: the file.
        max_megapixels: a larger picture is refused by what its header says, before anything is decoded.

    Raises:
        DataError: the file is missing, no photo, too large, torn, of several pages, or of pixels without agreed range.
    """
    path = Path(path)
    try:
        # Pillow's remarks on odd EXIF and odd TIFF tags are no matter of the user's.
        with warnings.catch_warnings(action="ignore"), _opened(path, max_megapixels) as image:
            if getattr(image, "n_frames", 1) > 1 and image.format not in ("MPO", "HEIF"):
                raise DataError(
                    f"{path} holds {getattr(image, 'n_frames', 2)} pictures: save the one that is meant as a file."
                )
            return _decoded(image, path)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{path} {_what_instead(path)}.") from error
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: give the path of a photo.") from error
    except Exception as error:  # Pillow's plugins raise all kinds of errors on broken files
        reason = " ".join(str(error).partition(" '")[0].split()).rstrip(".:") or type(error).__name__
        raise DataError(f"{path} cannot be decoded ({reason}): copy or export it again.") from error


@contextmanager
def _opened(path: Path, max_megapixels: float) -> Iterator[Image.Image]:
    """Pillow's image of a file whose header is good, and its size not too large."""
    register_heif()
    Image.init()
    with BoundedFile(path) as content:
        with _no_limit():
            # No other formats: the fewer decoders a stranger's file can reach, the better.
            image = Image.open(content, formats=[name for name in FORMATS if name in Image.OPEN])
        with image:
            width, height = image.size
            if width * height > max_megapixels * 1e6:
                raise DataError(
                    f"{path} has {width * height / 1e6:.0f} megapixels ({height}x{width}), and the limit is "
                    f"{max_megapixels:g}: if it is what it seems, raise max_megapixels."
                )
            yield image


@contextmanager
def _no_limit() -> Iterator[None]:
    """Without Pillow's own limit of pixels, which is below ours and one for the whole process."""
    with _limit_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decoded(image: Image.Image, path: Path) -> Photo:
    kind = FORMATS[str(image.format)]
    lossless = kind in ("PNG", "BMP", "TIFF") and "jpeg" not in str(image.info.get("compression", ""))
    if kind == "WEBP":
        with path.open("rb") as file:
            lossless = _lossless_webp(file)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    tiles = getattr(image, "tile", [])
    deep = 16 in tags.get(_BITS, ()) if tags else kind == "PNG" and bool(tiles) and ";16" in str(tiles[0][3])
    if kind == "PNG":
        with _no_limit():
            image.load()  # as reading its EXIF does, which a torn one must not pass for
    exif, orientation = read_exif(image)
    xmp, dpi = read_xmp(image), read_dpi(image)
    icc = image.info.get("icc_profile") or None
    with _no_limit():
        image.load()
    if deep and tags.get(_PLANES, 1) != 1:  # OpenCV would shuffle them
        raise DataError(f"{path} has 16-bit channels in separate planes: save it again with interleaved channels.")
    if deep and image.mode in ("RGB", "RGBA", "LA", "I;16", "I;16B", "I;16L", "I;16N"):
        pixels, alpha = _decoded16(path, tags, image.info.get("transparency"))
    elif image.mode in ("I", "F", "LAB") or image.mode.startswith("I;"):
        raise DataError(f"{path} has pixels of the kind {image.mode}: convert it to RGB or grey, 8 or 16 bits.")
    else:
        if image.mode == "CMYK":
            image, icc = _srgb(image, icc), None
        pixels, alpha = _decoded8(image)
    if kind == "TIFF":
        orientation = 1  # Pillow and OpenCV have turned it while decoding
    return Photo(
        np.ascontiguousarray(_upright(pixels, orientation)),
        None if alpha is None else np.ascontiguousarray(_upright(alpha, orientation)),
        icc=icc,
        exif=exif,
        xmp=xmp,
        dpi=dpi,
        format=kind,
        lossless=lossless,
    )


def _lossless_webp(file: IO[bytes]) -> bool:
    """Whether a WebP's pixels are in a chunk VP8L, found by the chunks' headers."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if kind in (b"VP8L", b"VP8 "):
            return bool(kind == b"VP8L")
        file.seek(size + size % 2, io.SEEK_CUR)
    return False


def _decoded8(image: Image.Image) -> tuple[NDArray[Any], NDArray[Any] | None]:
    transparent = "transparency" in image.info
    if image.mode in ("1", "L", "LA", "La"):
        if image.mode in ("1", "L") and not transparent:
            return np.asarray(image.convert("L")), None
        pixels = np.asarray(image.convert("LA"))
        return pixels[..., 0], pixels[..., 1]
    if image.mode in ("RGBA", "RGBa", "PA") or transparent:
        pixels = np.asarray(image.convert("RGBA"))
        return pixels[..., :3], pixels[..., 3]
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), None


def _decoded16(path: Path, tags: Mapping[int, Any], transparent: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """OpenCV keeps 16 bits, which Pillow drops where there are several channels; it turns a TIFF upright, too.

    Args:
        path: a PNG or TIFF.
        tags: of a TIFF.
        transparent: the one level that a grey PNG means to be transparent, which OpenCV does not look at.
    """
    chatty = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(chatty)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("its 16-bit pixels are torn, or compressed in a way that OpenCV does not know")
    if pixels.ndim == 2:
        if tags.get(_INTERPRETATION) == 0:  # 0 is white
            pixels = 65535 - pixels
        return pixels, np.where(pixels == transparent, 0, 65535).astype(np.uint16) if transparent is not None else None
    if pixels.shape[2] == 3:
        return pixels[..., ::-1], None
    alpha = pixels[..., 3]
    if 1 in tags.get(_EXTRA_SAMPLES, ()):  # premultiplied
        pixels = np.minimum(pixels[..., :3] * np.float64(65535) / np.maximum(alpha, 1)[..., None], 65535).round()
    return pixels[..., 2::-1].astype(np.uint16, copy=False), alpha


def _srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc is None:
        return image.convert("RGB")
    converted = ImageCms.profileToProfile(
        image, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None
    return converted


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The pixels turned and mirrored as an EXIF orientation, 1 to 8, says; any other means nothing."""
    if orientation in TURNED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _what_instead(path: Path) -> str:
    """What is wrong with a file that Pillow does not know."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "is empty: copy or export it again"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS and not register_heif():
        return "is HEIC, which needs pillow-heif: pip install 'crrn[heic]'"
    for start, name in _OTHERS.items():
        if head.startswith(start):
            return f"is {name}, which is not supported: give {NAMES}"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "is a TIFF of a kind that Pillow cannot read: convert it to RGB or grey, 8 or 16 bits"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "is not a photo but text: remove it, or export the photo again"
    return f"is not a photo: give {NAMES}"
