"""Decoding photos, and keeping the decoded ones in memory."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from crrn.errors import DataError
from crrn.files import BoundedFile

Photo = NDArray[np.uint8]

ANTIALIASED_ABOVE = 1.5
"""A photo of which a side shrinks by more than this is filtered; elsewhere plain interpolation hardly aliases."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_END_OF_JPEG = b"\xff\xd9"
_SHRINK = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def check_photo(file: Path, min_side: int) -> None:
    """Read a photo's header.

    Raises:
        DataError: naming the file, when it is no readable image or its short side is below ``min_side`` pixels.
    """
    try:
        with BoundedFile(file) as content, Image.open(content) as image:
            size = image.size
    except Exception as error:  # PIL's plugins raise all kinds of errors on broken files
        raise _unreadable(file, error) from error
    if min(size) < min_side:
        raise DataError(
            f"{file} is too small ({size[1]}x{size[0]} pixels, height x width; the short side must have {min_side} or "
            "more): remove the file, lower data.sources.min_side, or set data.sources.on_corrupt=skip."
        )


def upright_size(file: Path) -> tuple[int, int]:
    """A photo's (height, width) as it will be decoded, from its header alone; raises whatever Pillow does."""
    with BoundedFile(file) as content, Image.open(content) as image:
        # Pillow decodes a whole PNG to look for an orientation behind its pixels, where nobody writes one.
        exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
        width, height = image.size
        return (width, height) if exif.get(_ORIENTATION, 1) in (5, 6, 7, 8) else (height, width)


def read_photo(file: Path, size: tuple[int, int], squeeze: bool = True) -> Photo:
    """Decode a photo to uint8 (height, width, 3), RGB, and resize it.

    With ``squeeze`` the whole photo gets exactly ``size`` = (height, width). Without, it keeps its aspect ratio: it is
    shrunk until one side is as long as ``size`` has it, and never enlarged; see `fitted`.

    The EXIF orientation is applied; grey, palette and 16-bit images become 8-bit RGB; transparency is dropped. A JPEG
    much larger than ``size`` is decoded at a half, a quarter or an eighth of its size, which is faster.

    Raises:
        DataError: naming the file, when it is missing, corrupt or truncated.
    """
    try:
        with BoundedFile(file) as content, Image.open(content) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            turned = orientation in (5, 6, 7, 8)
            full = image.size
            image.draft(image.mode, (size[0], size[1]) if turned else (size[1], size[0]))
            pixels = _jpeg(image, file, round(full[0] / image.size[0])) if orientation not in _TURNS else None
            if pixels is None:
                pixels = _rgb(image.transpose(_TURNS[orientation]) if orientation in _TURNS else image)
    except Exception as error:  # as above
        raise _unreadable(file, error) from error
    return resize(pixels, size if squeeze else fitted(full if turned else full[::-1], size))


def fitted(full: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) to which a photo of the size ``full`` shrinks so that it still covers ``size``."""
    factor = min(full[0] / size[0], full[1] / size[1])
    return (full[0], full[1]) if factor <= 1 else (round(full[0] / factor), round(full[1] / factor))


def crop_window(
    full: tuple[int, ...], size: tuple[int, int], scale: float, position: tuple[float, float]
) -> tuple[slice, slice]:
    """The rows and columns of a window of the aspect ratio of ``size`` in a photo of the size ``full``.

    Args:
        full, size: (height, width).
        scale: the window's sides as a share, in (0, 1], of those of the largest such window.
        position: where it lies, in [0, 1] from top to bottom and from left to right.
    """
    factor = scale * min(full[0] / size[0], full[1] / size[1])
    sides = [min(whole, max(1, round(side * factor))) for whole, side in zip(full, size, strict=False)]
    starts = [round(at * (whole - side)) for at, whole, side in zip(position, full, sides, strict=False)]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return rows, columns


def read_image(file: Path) -> Photo:
    """Decode an image of a benchmark at its own size; gives uint8 (height, width, 3), RGB, upright as in `read_photo`.

    Raises:
        DataError: naming the file, when it is missing, corrupt or truncated.
    """
    try:
        with BoundedFile(file) as content, Image.open(content) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            return _rgb(image.transpose(_TURNS[orientation]) if orientation in _TURNS else image)
    except Exception as error:  # as above
        raise _unreadable(file, error, "replace the file, or set strict=false to go on without it") from error


def resize(photo: Photo, size: tuple[int, int]) -> Photo:
    """Squeeze a photo (h, w, 3) to ``size`` = (height, width)."""
    height, width = photo.shape[:2]
    if (height, width) == size:
        return photo
    if max(height / size[0], width / size[1]) > ANTIALIASED_ABOVE:
        # A triangle filter as wide as the shrinking asks, the same as PIL's bilinear one to a level, in a fifth of the
        # time of that or of OpenCV's area averaging.
        pixels = torch.from_numpy(np.require(photo, requirements="W"))[None].permute(0, 3, 1, 2)
        small = F.interpolate(pixels, size, mode="bilinear", antialias=True)
        return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())
    # Elsewhere plain interpolation takes half of that.
    return np.asarray(cv2.resize(photo, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


class PhotoBank:
    """Photos by index, each resized as `read_photo` does.

    With ``cache``, each photo is decoded once and kept in memory that the worker processes share: an anonymous map,
    made before they are forked, into which whoever decodes a photo first writes it. Cached or not, the bits are the
    same.

    Args:
        files: the photos.
        size: the canonical size (height, width).
        cache: keep decoded photos; their memory is claimed as photos are read.
        squeeze: whether photos get the canonical size, or keep their aspect ratio and cover it.

    Raises:
        DataError: no memory for the cache.
    """

    def __init__(self, files: Sequence[Path], size: tuple[int, int], cache: bool = False, squeeze: bool = True) -> None:
        self.files = list(files)
        self.size = size
        self.squeeze = squeeze
        self._photos: list[Photo] | None = None
        self._filled: NDArray[np.uint8] | None = None
        if cache and self.files:
            sizes = self.sizes()
            ends = np.cumsum([3 * height * width for height, width in sizes])
            try:
                memory = np.frombuffer(mmap.mmap(-1, int(ends[-1])), np.uint8)
            except OSError as error:
                raise DataError(
                    f"there is no memory for a cache of {len(self.files)} photos ({ends[-1] / 1e9:.1f} GB): "
                    "set data.loading.cache=false."
                ) from error
            self._photos = [
                memory[end - 3 * height * width : end].reshape(height, width, 3)
                for end, (height, width) in zip(ends, sizes, strict=True)
            ]
            self._filled = np.frombuffer(mmap.mmap(-1, len(self.files)), np.uint8)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Photo:
        """Photo number ``index``, uint8 (height, width, 3); not to be written to.

        Raises:
            DataError: naming the file, when it cannot be decoded.
        """
        if self._photos is None or self._filled is None:
            return read_photo(self.files[index], self.size, self.squeeze)
        if not self._filled[index]:
            # Two workers may decode the same photo at the same time: they write the same bytes. The mark comes last.
            self._photos[index][:] = read_photo(self.files[index], self.size, self.squeeze)
            self._filled[index] = 1
        return self._photos[index]

    def sizes(self) -> list[tuple[int, int]]:
        """The (height, width) of each photo, from the headers alone.

        Raises:
            DataError: naming a file whose header cannot be read.
        """
        return [self.size if self.squeeze else self._size_of(file) for file in self.files]

    def _size_of(self, file: Path) -> tuple[int, int]:
        """The size that `read_photo` gives without decoding."""
        try:
            full = upright_size(file)
        except Exception as error:  # as above
            raise _unreadable(file, error) from error
        return fitted(full, self.size)


def _jpeg(image: Image.Image, file: Path, shrink: int) -> Photo | None:
    """The pixels of an opened colour JPEG by OpenCV, a third faster than PIL; None leaves the file to PIL.

    Both use libjpeg-turbo and give the same bits. OpenCV fills what a file lacks with grey and says nothing, so a file
    that does not end as a JPEG should is left to PIL, which tells whether pixels are missing.
    """
    if image.format != "JPEG" or image.mode != "RGB" or shrink not in _SHRINK:
        return None
    data = file.read_bytes()
    if not data.endswith(_END_OF_JPEG):
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _SHRINK[shrink] | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or pixels.shape[1::-1] != image.size:
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)


def _rgb(image: Image.Image) -> Photo:
    if image.mode.startswith("I"):  # 16-bit grey, which PIL would clip to 8 bits
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if "transparency" in image.info:  # PIL warns about palettes with transparency that go straight to RGB
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _unreadable(
    file: Path,
    error: Exception,
    remedy: str = "remove or replace the file, or set data.sources.on_corrupt=skip to go on without it",
) -> DataError:
    if isinstance(error, FileNotFoundError):
        reason = "no such file"
    elif isinstance(error, UnidentifiedImageError):
        reason = "no known kind of image"
    else:
        reason = " ".join(str(error).partition(" '")[0].split()).rstrip(".:") or type(error).__name__
    return DataError(f"{file} cannot be read as a photo ({reason}): {remedy}.")
