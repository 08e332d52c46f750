"""Anyone's photo: reading it with all that belongs to it, and writing a result as a photo of the same kind."""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from crrn.errors import DataError
from crrn.files import write_atomically

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif")
"""File names that a folder's photos are known by."""

MAX_MEGAPIXELS = 200.0
"""Larger photos are refused before they are decoded, unless asked for."""

QUALITY = 95
"""Of JPEG, lossy WebP and HEIC."""

FORMATS = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP", "TIFF": "TIFF", "HEIF": "HEIF"}
"""What Pillow calls a file, and the format that it is written in. MPO is the JPEG of phones that append a second
picture, which is left out."""

ROWS = 256
"""Rows that are converted at once, so that no second copy of a photo is needed."""

_BITS, _INTERPRETATION, _ORIENTATION, _PLANES, _EXTRA_SAMPLES = 258, 262, 274, 284, 338
_TURNED = (5, 6, 7, 8)
_EXIF_SIZE = (40962, 40963)
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")

# Tags of a TIFF that describe how its pixels lie in the file, or how they once looked: not the written file's.
_LAYOUT = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 290, 291, 292, 293}
    | {301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 347}
    | {512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 33723, 34377, 34675}
)

log = logging.getLogger("crrn")

_limit_lock = threading.Lock()


@dataclass(frozen=True)
class Photo:
    """A decoded photo, upright, and what its file held besides the pixels.

    Attributes:
        pixels: (H, W, 3) RGB or (H, W) grey, uint8 or uint16, as the file holds them.
        alpha: (H, W) of the same type, or None.
        icc: the colour profile, or None. The pixels stay in its colours: nothing is converted.
        exif: the EXIF block, "Exif\\0\\0" first, or None. Its orientation is normal, as the pixels are turned already;
            the thumbnail, which would still show the reflection, is left out.
        format: "JPEG", "PNG", "WEBP", "TIFF" or "HEIF".
        lossless: whether the format, as this file uses it, keeps every pixel.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    format: str = "PNG"
    lossless: bool = True

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def grey(self) -> bool:
        """Whether it has one channel."""
        return self.pixels.ndim == 2

    @property
    def bits(self) -> int:
        """8 or 16 for each channel."""
        return 8 * self.pixels.dtype.itemsize

    def mixture(self) -> Tensor:
        """The photo as removers take it: (1, 3, H, W) float32 in [0, 1], grey repeated; 12 bytes a pixel."""
        result = torch.empty(1, 3, self.height, self.width)
        planes = self.pixels[..., None] if self.grey else self.pixels
        for top in range(0, self.height, ROWS):
            rows = planes[top : top + ROWS].astype(np.float32)
            result[0, :, top : top + ROWS] = torch.from_numpy(rows).permute(2, 0, 1)
        return result.div_(2**self.bits - 1)

    def with_pixels(self, image: Tensor) -> Photo:
        """This photo with other pixels: the image clipped to [0, 1] and rounded to this photo's bits.

        Args:
            image: (3, H, W) or (1, H, W), or the same with a 1 in front. A grey photo takes the mean of the channels
                (our choice). Of another size than the photo's, it gets no alpha.
        """
        image = image[0] if image.ndim == 4 else image
        height, width = image.shape[-2:]
        shape = (height, width) if self.grey else (height, width, 3)
        pixels = np.empty(shape, self.pixels.dtype)
        for top in range(0, height, ROWS):
            rows = image[:, top : top + ROWS].detach().float().cpu()
            rows = rows.mean(0) if self.grey else rows.expand(3, -1, -1).permute(1, 2, 0)
            levels = rows.clamp(0, 1).mul(2**self.bits - 1).round_().numpy()
            pixels[top : top + ROWS] = levels.astype(self.pixels.dtype)
        alpha = self.alpha if (height, width) == (self.height, self.width) else None
        return replace(self, pixels=pixels, alpha=alpha)


def read_photo(path: str | Path, max_megapixels: float = MAX_MEGAPIXELS) -> Photo:
    """Decode a photo: JPEG, PNG, WebP, TIFF, and HEIC where pillow-heif is installed (the extra `heic`).

    Turned as its EXIF orientation says. 16 bits stay 16; palettes become RGB; CMYK becomes sRGB.

    Args:
        path: the file.
        max_megapixels: a larger picture is refused by what its header says, before anything is decoded.

    Raises:
        DataError: the file is missing, no photo, too large, torn, of several pages, or of pixels without agreed range.
    """
    path = Path(path)
    try:
        with _opened(path, max_megapixels) as image:
            if image.format not in FORMATS:
                raise DataError(f"{path} is a {image.format} file: give JPEG, PNG, WebP, TIFF or HEIC.")
            if getattr(image, "n_frames", 1) > 1 and image.format not in ("MPO", "HEIF"):
                raise DataError(
                    f"{path} holds {getattr(image, 'n_frames', 2)} pictures: save the one that is meant as a file."
                )
            return _decoded(image, path)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is no photo{_what_instead(path)}.") from error
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: give the path of a photo.") from error
    except Exception as error:  # Pillow's plugins raise all kinds of errors on broken files
        reason = str(error).split(" '")[0].splitlines()[0].rstrip(".:") if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be decoded ({reason}): copy or export it again.") from error


def write_photo(path: str | Path, image: Tensor, like: Photo, quality: int = QUALITY) -> None:
    """Write an image as a photo like another: its format, bits, grey, alpha, colour profile and EXIF.

    PNG, TIFF and WebP that was lossless keep every level. The file appears whole or not at all.

    Args:
        path: the file; its suffix does not decide the format, `like` does.
        image: (3, H, W) or (1, H, W), or with a 1 in front; clipped to [0, 1].
        like: the photo.
        quality: of JPEG, lossy WebP and HEIC, 1 to 100.

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
        else:
            _encode_by_pillow(file, photo, quality)
    except Exception as error:  # the encoders' own errors, of many kinds
        if isinstance(error, OSError) and error.errno is not None:  # as a full disk
            raise
        raise DataError(
            f"a picture of {photo.height}x{photo.width} pixels cannot be written as {photo.format} ({error}): "
            "convert the photo to PNG or TIFF."
        ) from error


@contextmanager
def _opened(path: Path, max_megapixels: float) -> Iterator[Image.Image]:
    """Pillow's image of a file whose header is good, and its size not too large."""
    _register_heif()
    with _no_limit():
        image = Image.open(path)
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
    lossless = kind in ("PNG", "TIFF") and "jpeg" not in str(image.info.get("compression", ""))
    if kind == "WEBP":
        with path.open("rb") as file:
            lossless = b"VP8L" in file.read(1 << 16)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    tiles = getattr(image, "tile", [])
    deep = 16 in tags.get(_BITS, ()) if tags else kind == "PNG" and bool(tiles) and ";16" in str(tiles[0][3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd EXIF and odd TIFF tags are no matter of the user's
        if kind == "PNG":
            with _no_limit():
                image.load()  # as reading its EXIF does, which a torn one must not pass for
        exif, orientation = _exif(image)
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
        icc,
        exif,
        kind,
        lossless,
    )


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


def _exif(image: Image.Image) -> tuple[bytes | None, int]:
    """The EXIF block as it is to be written, and the orientation that the pixels have yet to be turned by."""
    try:
        exif = Image.Exif()
        exif.load(image.getexif().tobytes())  # a TIFF's own is what Pillow decodes by
        orientation = int(exif.get(_ORIENTATION, 1))
        for tag in [tag for tag in exif if tag in _LAYOUT]:
            del exif[tag]
        if _ORIENTATION in exif:
            exif[_ORIENTATION] = 1
        details = exif.get_ifd(ExifTags.IFD.Exif) if ExifTags.IFD.Exif in exif else {}
        if orientation in _TURNED and all(tag in details for tag in _EXIF_SIZE):
            width, height = (details[tag] for tag in _EXIF_SIZE)
            details[_EXIF_SIZE[0]], details[_EXIF_SIZE[1]] = height, width
        return (exif.tobytes() if len(exif) else None), orientation
    except Exception as error:  # as on broken files: a photo is more than its EXIF
        log.warning("%s: its EXIF cannot be read and is left out (%s)", getattr(image, "filename", "photo"), error)
        return None, 1


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The pixels turned and mirrored as an EXIF orientation, 1 to 8, says; any other means nothing."""
    if orientation in _TURNED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


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
        "HEIF": {"quality": quality},
    }[photo.format]
    if photo.exif:
        options["exif"] = photo.exif
    if photo.format == "HEIF":
        _register_heif()
    _picture(photo).save(file, photo.format, icc_profile=photo.icc, **options)


def _encode_png16(file: IO[bytes], photo: Photo) -> None:
    """OpenCV writes the pixels; colour profile and EXIF are put in as chunks behind the header. Grey with alpha is
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
    file.write(data[header:])


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
    for tag, value in layout.items():
        directory[tag] = value
    start = 8
    file.write(struct.pack("<2sHL", b"II", 42, start) + directory.tobytes(start))
    for strip in strips:
        file.write(strip)


def _register_heif() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _what_instead(path: Path) -> str:
    """More on a file that Pillow does not know."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return ": the file is empty"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS and not _register_heif():
        return " without pillow-heif, as it is HEIC: pip install 'crrn[heic]'"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return " of a kind that Pillow reads: convert it to RGB or grey, 8 or 16 bits"
    text = all(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return " but text: remove it, or export the photo again" if text else ": give JPEG, PNG, WebP, TIFF or HEIC"
