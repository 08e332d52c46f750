"""Where photos come from: folders, PASCAL VOC 2012, COCO, RID. A source only lists files; nothing is decoded here."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from crrn.errors import DataError

log = logging.getLogger("crrn")

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
RID_PHOTOS = 3250
_REMEDY = "set data.background or data.reflection to a folder of photos"


@dataclass(frozen=True)
class PhotoSource:
    """A named list of photos.

    Attributes:
        name: what logs and errors call the source.
        files: all photos, in an order that is the same on every machine (mixtures depend on it).
        held_out: the photos that never train, where the source fixes them; None leaves the choice to ``split``.
    """

    name: str
    files: tuple[Path, ...]
    held_out: frozenset[Path] | None = None

    def split(self, fraction: float) -> tuple[list[Path], list[Path]]:
        """Split into (training photos, held-out photos), with at least one photo in each.

        A photo is held out when the hash of its file name, as a number in [0, 1), lies below ``fraction``: adding or
        removing a file moves no other photo, and two sources over the same files hold the same photos out. Only where
        the hash would leave one side empty (a handful of photos) the photo nearest to the threshold changes sides. A
        source with a fixed held-out set keeps it.

        Args:
            fraction: in (0, 1).

        Raises:
            DataError: a source of fewer than two photos.
        """
        if len(self.files) < 2:
            raise DataError(f"{self.name} has {len(self.files)} usable photo, training needs two or more: {_REMEDY}.")
        if self.held_out is not None:
            held_out = self.held_out.intersection(self.files)
        else:
            names = split_names({file.name for file in self.files}, fraction)
            held_out = frozenset(file for file in self.files if file.name in names)
        training = [file for file in self.files if file not in held_out]
        if not training or not held_out:
            raise DataError(
                f"{self.name} has no usable photo left to {'train on' if held_out else 'hold out'}: {_REMEDY}."
            )
        return training, [file for file in self.files if file in held_out]


def folder(path: str | Path) -> PhotoSource:
    """All photos in a folder and the folders below it, by file name ending (``PHOTO_SUFFIXES``), without hidden files.

    Raises:
        DataError: no such folder, or no photo in it.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder of photos at {root.absolute()}: {_REMEDY}.")
    files = photos_below(root)
    if not files:
        raise DataError(f"no photo ({', '.join(PHOTO_SUFFIXES)}) in {root.absolute()}: {_REMEDY}.")
    return PhotoSource(root.name, files)


def voc2012(root: str | Path, download: bool = False) -> PhotoSource:
    """PASCAL VOC 2012, the paper's backgrounds: the 17,125 photos in ``root``/VOCdevkit/VOC2012/JPEGImages.

    Args:
        root: the folder that holds, or shall hold, VOCdevkit.
        download: fetch the data set (2 GB) with torchvision where the tree is missing.

    Raises:
        DataError: the tree is missing and not to be downloaded, or the download failed.
    """
    base = Path(root).expanduser()
    images = base / "VOCdevkit" / "VOC2012" / "JPEGImages"
    if download and not images.is_dir():
        # Imported here: reading a folder needs no torchvision.
        from torchvision.datasets import VOCDetection

        log.info("downloading PASCAL VOC 2012 to %s", base.absolute())
        try:
            base.mkdir(parents=True, exist_ok=True)
            VOCDetection(str(base), year="2012", image_set="trainval", download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"PASCAL VOC 2012 could not be downloaded to {base.absolute()} ({error}): try again with a connection, "
                "unpack VOCtrainval_11-May-2012.tar there by hand, or set data.background to a folder of photos."
            ) from error
    files = photos_below(images) if images.is_dir() else ()
    if not files:
        raise DataError(
            f"no PASCAL VOC 2012 photos at {images.absolute()}: set data.background.root to the folder that holds "
            "VOCdevkit, data.background.download=true to fetch it, or data.background to a folder of photos."
        )
    return PhotoSource("VOC2012", files)


def coco(root: str | Path) -> PhotoSource:
    """COCO: the photos of ``root``/train2017 and val2017, or of train2014 and val2014.

    The two years hold the same photos under other names, so only one year is used: 2017 where both are present.

    Raises:
        DataError: no photo in any of the four folders.
    """
    base = Path(root).expanduser()
    for year in ("2017", "2014"):
        files = [file for part in ("train", "val") for file in photos_below(base / f"{part}{year}")]
        if files:
            return PhotoSource(f"COCO{year}", tuple(sorted(files)))
    raise DataError(
        f"no COCO photos at {base.absolute()}/{{train,val}}{{2014,2017}}/*.jpg: set data.background.root to the folder "
        "that holds train2017 or train2014, or data.background to a folder of photos."
    )


def rid(root: str | Path) -> PhotoSource:
    """RID, the paper's reflections: 3,250 photos anywhere below ``root``; logs a warning when it finds another number.

    Raises:
        DataError: no photo below ``root``.
    """
    base = Path(root).expanduser()
    files = photos_below(base) if base.is_dir() else ()
    if not files:
        raise DataError(
            f"no RID photos below {base.absolute()}: get the data set from the SIR2 project page and set "
            "data.reflection.root to it, or set data.reflection to a folder of photos."
        )
    if len(files) != RID_PHOTOS:
        log.warning("RID has %s photos, %s below %s", f"{RID_PHOTOS:,}", f"{len(files):,}", base.absolute())
    return PhotoSource("RID", files)


def fingerprint(files: Iterable[Path]) -> str:
    """A digest (16 hex digits) of the files' names and sizes in bytes: did two runs see the same photos?"""
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def photos_below(root: Path) -> tuple[Path, ...]:
    """All photos in a folder and the folders below it, sorted, without hidden files."""
    # Resolved, so that one photo reached through two sources has one path (a photo is never mixed with itself).
    root = root.resolve()
    return tuple(
        sorted(
            Path(parent, name)
            for parent, _, names in os.walk(root)
            for name in names
            if name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith(".")
        )
    )


def split_names(names: Iterable[str], fraction: float) -> set[str]:
    """The names whose hash, as a number in [0, 1), lies below ``fraction``; of two names or more, at least one is
    chosen and one is not."""
    positions = {name: hash_position(name) for name in names}
    chosen = {name for name, position in positions.items() if position < fraction}
    if not chosen:
        return {min(positions, key=positions.__getitem__)}
    return chosen - {max(positions, key=positions.__getitem__)} if len(chosen) == len(positions) > 1 else chosen


def hash_position(name: str) -> float:
    """A hash of a name as a number in [0, 1), the same on every machine."""
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
