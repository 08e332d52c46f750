"""Decoding photos, and keeping the decoded ones in memory."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from crrn.data.resize import fitted, resize
from crrn.errors import DataError
from crrn.files import BoundedFile
from crrn.image.picture import Pixels

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


def read_photo(file: Path, size: tuple[int, int], squeeze: bool = True) -> Pixels:
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


def read_image(file: Path) -> Pixels:
    """Decode an image of a benchmark at its own size; gives uint8 (height, width, 3), RGB, upright as in `read_photo`.

    Raises:
        DataError: naming the file, when it is missing, corrupt or truncated.
    """
    try:
        with BoundedFile(file) as content, Image.open(content) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            return _rgb(image.transpose(_TURNS[orientation]) if orientation in _TURNS else image)
    except Exception as error:  # as above
        raise _unreadable(file, error, "replace or remove the file") from error


class PhotoBank:
    """Photos by index, each resized as `read_photo` does.

    With ``cache``, each photo is decoded once and kept in memory that the worker processes share. This memory is an
    anonymous map, made before the processes are forked. The first process that decodes a photo writes it there. The
    pixels are the same with and without the cache.

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
        self._photos: list[Pixels] | None = None
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

    def __getitem__(self, index: int) -> Pixels:
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


def _jpeg(image: Image.Image, file: Path, shrink: int) -> Pixels | None:
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


def _rgb(image: Image.Image) -> Pixels:
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
