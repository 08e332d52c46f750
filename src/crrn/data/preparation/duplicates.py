"""Near-duplicates among photos, by their perceptual hashes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crrn.data.benchmarks.case import Progress
from crrn.data.photos import read_photo, upright_size
from crrn.data.preparation.journal import fault
from crrn.data.preparation.measures import MEASURED_SIDE, luma, perceptual_hash
from crrn.data.sources import photos_below
from crrn.data.threads import in_threads
from crrn.errors import DataError

Hashes = NDArray[np.uint64]
"""64-bit hashes of `perceptual_hash`, (N,)."""


class Likeness(NamedTuple):
    """What a photo or pair is like.

    Attributes:
        number: the place of the other one.
        bits: how many of the 64 bits differ.
    """

    number: int
    bits: int


class Hashed(NamedTuple):
    """The photos of a folder.

    Attributes:
        files, codes: those that can be read, and their hashes.
        faults: of the others, by their path, what is wrong.
    """

    files: list[Path]
    codes: Hashes
    faults: dict[str, str]


def likest(photos: Sequence[Hashes], scenes: Sequence[str], limit: int) -> list[Likeness | None]:
    """For each item the one of another scene that is most like it, None where all differ in more than ``limit`` bits.

    Args:
        photos: the hashes of each photo of the items, such as those of all mixtures and those of all backgrounds. Items
            are alike where each of their photos is.
        scenes: of the items. Photos of one scene are alike by nature.
        limit: see above.
    """
    names = np.array(scenes)
    found: list[Likeness | None] = []
    for number in range(len(photos[0])):
        bits = np.max([np.bitwise_count(hashes ^ hashes[number]) for hashes in photos], axis=0)
        bits[names == names[number]] = 255
        nearest = int(bits.argmin())
        found.append(Likeness(nearest, int(bits[nearest])) if bits[nearest] <= limit else None)
    return found


def likest_of(photos: Sequence[Hashes], others: Hashes, limit: int) -> list[Likeness | None]:
    """For each item the one of ``others`` that is most like any of its photos, None as in `likest`."""
    found: list[Likeness | None] = []
    for number in range(len(photos[0])):
        bits = np.min([np.bitwise_count(others ^ hashes[number]) for hashes in photos], axis=0)
        nearest = int(bits.argmin())
        found.append(Likeness(nearest, int(bits[nearest])) if bits[nearest] <= limit else None)
    return found


def hashes_below(folder: Path, progress: Progress = lambda what, done, of: None) -> Hashed:
    """The hashes of all photos in a folder and the folders below it.

    Raises:
        DataError: there is no such folder, or no readable photo in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder.absolute()}: set against=[DIR,...] to folders of photos.")
    files, codes, faults = [], [], dict[str, str]()
    photos = photos_below(folder)
    for number, (file, code) in enumerate(zip(photos, in_threads(_hash, photos), strict=True), start=1):
        progress(f"against {folder.name}", number, len(photos))
        if isinstance(code, str):
            faults[str(file)] = code
        else:
            files.append(file)
            codes.append(code)
    if not files:
        raise DataError(f"No readable photo in {folder.absolute()}: set against=[DIR,...] to folders of photos.")
    return Hashed(files, np.array(codes, np.uint64), faults)


def _hash(file: Path) -> int | str:
    """A photo's hash, or what is wrong with the file."""
    try:
        height, width = upright_size(file)
        factor = min(1.0, MEASURED_SIDE / min(height, width))
        return perceptual_hash(luma(read_photo(file, (round(height * factor), round(width * factor)))))
    except Exception as error:  # PIL's plugins raise all kinds of errors on broken files
        return fault(error)
