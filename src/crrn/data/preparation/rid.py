"""From a folder of one's own photos of reflections to a reflection set, as the paper's RID: black paper behind the
glass, so that a photo holds the reflection alone."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crrn.data.benchmarks.case import Progress, natural
from crrn.data.photos import read_photo, upright_size
from crrn.data.preparation.journal import append_journal, claim_output, fault, read_journal
from crrn.data.preparation.measures import blur, luma, perceptual_hash
from crrn.data.preparation.sheet import Tile, write_sheets
from crrn.data.sources import photos_below
from crrn.data.threads import in_threads
from crrn.errors import ConfigError, DataError
from crrn.files import write_atomically

KEPT = ("bright", "dim")
REJECTED = ("dark", "blurred", "duplicate", "small")
UNREADABLE = "unreadable"
PLACES = {verdict: f"photos/{verdict}" for verdict in KEPT} | {verdict: f"rejected/{verdict}" for verdict in REJECTED}
"""Verdict -> folder below the output; photos/ is what training takes."""

QUALITY = 95
COLUMNS = (
    *("photo", "verdict", "output", "height", "width", "new_height", "new_width"),
    *("brightness", "highlight", "blur", "hash", "like", "distance", "why"),
)


@dataclass(frozen=True)
class Screening:
    """What a reflection set takes; all defaults are our choice.

    Attributes:
        size: short side of the photos that are written, in pixels; photos are never enlarged.
        min_side: photos with a shorter short side are rejected.
        dark: photos whose highlight, the 95th percentile of luma in [0, 1], is lower are rejected: nothing is
            reflected there.
        blurred: photos with a higher blur effect (`crrn.data.preparation.measures.blur`, 0 sharp to 1) are rejected.
        duplicate: two photos whose 64-bit hashes differ in at most so many bits show the same; the sharpest stays.
        bright: photos of this mean luma or more are bright, others dim.

    Raises:
        ConfigError: a value is out of range.
    """

    size: int = 512
    min_side: int = 224
    dark: float = 0.1
    blurred: float = 0.65
    duplicate: int = 8
    bright: float = 0.25

    def __post_init__(self) -> None:
        for name, low, high in (
            ("size", 16, 8192),
            ("min_side", 1, 8192),
            ("dark", 0, 1),
            ("blurred", 0, 1),
            ("duplicate", -1, 64),
            ("bright", 0, 1),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ConfigError(f"screening.{name}={value} is out of range: give {low} to {high}.")


@dataclass(frozen=True)
class Measured:
    """A photo's measures: `brightness` is the mean luma, `highlight` its 95th percentile."""

    photo: str
    bytes: int
    changed: int
    size: int
    height: int
    width: int
    new_height: int
    new_width: int
    brightness: float
    highlight: float
    blur: float
    hash: str


@dataclass(frozen=True)
class Verdict:
    """What becomes of a photo."""

    photo: str
    verdict: str
    why: str = ""
    measured: Measured | None = None
    like: str = ""
    """The photo that it is a duplicate of."""
    distance: int | None = None


def make_reflection_set(
    folder: Path | str,
    output: Path | str,
    screening: Screening,
    progress: Progress = lambda what, done, of: None,
) -> list[Verdict]:
    """Makes a reflection set of all photos in a folder and the folders below it; the folder itself is only read.

    OUTPUT/
      photos/{bright,dim}/           JPEG, upright, resized: the reflection set
      rejected/{dark,blurred,duplicate,small}/
      manifest.csv                   each photo's measures and verdict
      summary.json                   settings and counts
      sheet-1.jpg ...                all of them to look at

    Started again, it measures what is new or changed and gives all photos their verdict again, by other thresholds
    where they are set.

    Raises:
        DataError: no photo in the folder, or none that is kept.
        ConfigError: the output lies within the folder, or the folder within the output.
        RunError: the output holds something else, or cannot be written to.
    """
    folder, output = Path(folder).expanduser().resolve(), Path(output).expanduser().resolve()
    photos = _photos(folder)
    claim_output(output, folder, "rid")
    journal = read_journal(output, Measured, "photo")
    names = _output_names(photos, folder)

    def known(photo: str) -> bool:
        status = (folder / photo).stat()
        entry = journal.get(photo)
        facts = (status.st_size, status.st_mtime_ns, screening.size)
        return (
            entry is not None
            and (entry.bytes, entry.changed, entry.size) == facts
            and _lies(output, names[photo]) is not None
        )

    wanted = [photo for photo in names if not known(photo)]
    unreadable = []
    progress("photos", len(names) - len(wanted), len(names))
    work = in_threads(lambda photo: _measure(folder, photo, output, names[photo], screening), wanted)
    for number, (photo, measured) in enumerate(zip(wanted, work, strict=True), start=len(names) - len(wanted) + 1):
        if isinstance(measured, str):
            unreadable.append(Verdict(photo, UNREADABLE, measured))
            journal.pop(photo, None)
        else:
            journal[photo] = measured
            append_journal(output, measured)
        progress("photos", number, len(names))
    verdicts = judge([journal[photo] for photo in names if photo in journal], screening) + unreadable
    verdicts.sort(key=lambda verdict: natural(verdict.photo))
    _place(output, verdicts, names)
    _write_manifest(output / "manifest.csv", verdicts, names)
    tiles = [_tile(output, verdict, names) for verdict in _by_verdict(verdicts)]
    sheets = write_sheets(tiles, output, progress)
    counts = count(verdicts)
    left = sorted(set(journal) - set(names))
    summary = {
        "folder": str(folder),
        "photos": len(verdicts),
        "verdicts": counts,
        "screening": asdict(screening),
        "sheets": [sheet.name for sheet in sheets],
        "no_longer_in_folder": left,
    }
    with write_atomically(output / "summary.json", "w") as file:
        json.dump(summary, file, indent=1)
    if not any(verdict.verdict in KEPT for verdict in verdicts):
        raise DataError(
            f"None of the {len(verdicts)} photos in {folder} is kept: look at {sheets[0]} and the measures in "
            f"{output / 'manifest.csv'}, and set screening.dark or screening.blurred."
        )
    return verdicts


def judge(photos: Iterable[Measured], screening: Screening) -> list[Verdict]:
    """The verdict on each photo: small, dark and blurred by its own measures; of those that show the same, all but the
    sharpest are duplicates; the others are bright or dim."""
    verdicts, kept = [], list[tuple[int, Measured]]()
    for photo in sorted(photos, key=lambda photo: (photo.blur, photo.photo)):
        verdict, why = "", ""
        if min(photo.height, photo.width) < screening.min_side:
            verdict, why = "small", f"short side {min(photo.height, photo.width)} < {screening.min_side}"
        elif photo.highlight < screening.dark:
            verdict, why = "dark", f"highlight {photo.highlight:.3f} < {screening.dark:g}"
        elif photo.blur > screening.blurred:
            verdict, why = "blurred", f"blur {photo.blur:.3f} > {screening.blurred:g}"
        if verdict:
            verdicts.append(Verdict(photo.photo, verdict, why, photo))
            continue
        code = int(photo.hash, 16)
        nearest = min(((code ^ other).bit_count(), like.photo) for other, like in kept) if kept else (65, "")
        if nearest[0] <= screening.duplicate:
            why = f"{nearest[0]} of 64 bits from {nearest[1]}"
            verdicts.append(Verdict(photo.photo, "duplicate", why, photo, nearest[1], nearest[0]))
            continue
        kept.append((code, photo))
        verdicts.append(Verdict(photo.photo, "bright" if photo.brightness >= screening.bright else "dim", "", photo))
    return verdicts


def count(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Photos of each verdict, kept ones first."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    return {name: counts[name] for name in (*KEPT, *REJECTED, UNREADABLE) if name in KEPT or counts[name]}


def passed_over(folder: Path | str) -> dict[str, int]:
    """Files that are taken for no photo, by their suffix: a phone's .heic has to be converted first."""
    root = Path(folder).expanduser().resolve()
    photos = set(photos_below(root))
    others = (path for path in root.rglob("*") if path.is_file() and path not in photos and path.name[0] != ".")
    return dict(Counter(path.suffix.lower() or path.name for path in others).most_common())


def _photos(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise DataError(f"There is no folder of photos at {folder}: set rid=FOLDER.")
    photos = photos_below(folder)
    if not photos:
        others = ", ".join(f"{number} {suffix}" for suffix, number in passed_over(folder).items())
        raise DataError(
            f"No photo in {folder}{f' (there are {others})' if others else ''}: JPEG, PNG, WebP or TIFF is read."
        )
    return photos


def _output_names(photos: Iterable[Path], folder: Path) -> dict[str, str]:
    """Photo -> file below its verdict's folder; both relative."""
    names = {}
    for photo in photos:
        name = photo.relative_to(folder).as_posix()
        names[name] = name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"
    doubled = [name for name, number in Counter(names.values()).items() if number > 1]
    if doubled:
        raise DataError(f"Two photos would both become {doubled[0]}: rename one of them.")
    return names


def _measure(folder: Path, photo: str, output: Path, name: str, screening: Screening) -> Measured | str:
    """Reads, resizes and measures a photo, and writes it to where its own measures send it; or says what is wrong."""
    path = folder / photo
    try:
        height, width = upright_size(path)
        factor = min(1.0, screening.size / min(height, width))
        pixels = read_photo(path, (max(1, round(height * factor)), max(1, round(width * factor))))
    except Exception as error:  # PIL's plugins raise all kinds of errors on broken files
        return fault(error)
    grey, status = luma(pixels), path.stat()
    measured = Measured(
        photo=photo,
        bytes=status.st_size,
        changed=status.st_mtime_ns,
        size=screening.size,
        height=height,
        width=width,
        new_height=pixels.shape[0],
        new_width=pixels.shape[1],
        brightness=round(float(grey.mean()), 4),
        highlight=round(float(np.percentile(grey, 95)), 4),
        blur=round(blur(grey), 4),
        hash=f"{perceptual_hash(grey):016x}",
    )
    stale = _lies(output, name)
    if stale is not None:
        stale.unlink()
    with write_atomically(output / PLACES[judge([measured], screening)[0].verdict] / name, sync=False) as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return measured


def _lies(output: Path, name: str) -> Path | None:
    """Where a photo's picture is now."""
    return next((path for place in PLACES.values() if (path := output / place / name).is_file()), None)


def _place(output: Path, verdicts: Iterable[Verdict], names: Mapping[str, str]) -> None:
    """Moves each picture to its verdict's folder; those of photos that became unreadable go."""
    for verdict in verdicts:
        lies = _lies(output, names[verdict.photo])
        if lies is None:
            continue
        if verdict.verdict == UNREADABLE:
            lies.unlink()
            continue
        place = output / PLACES[verdict.verdict] / names[verdict.photo]
        if place != lies:
            place.parent.mkdir(parents=True, exist_ok=True)
            lies.replace(place)
    for folder in PLACES.values():
        for empty in sorted((path for path in (output / folder).rglob("*") if path.is_dir()), reverse=True):
            if not any(empty.iterdir()):
                empty.rmdir()


def _write_manifest(path: Path, verdicts: Iterable[Verdict], names: Mapping[str, str]) -> None:
    with write_atomically(path, "w") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", restval="")
        writer.writeheader()
        for verdict in verdicts:
            place = PLACES.get(verdict.verdict)
            measures: dict[str, Any] = asdict(verdict.measured) if verdict.measured else {}
            writer.writerow(
                measures
                | {"photo": verdict.photo, "verdict": verdict.verdict, "why": verdict.why, "like": verdict.like}
                | {"distance": "" if verdict.distance is None else verdict.distance}
                | {"output": f"{place}/{names[verdict.photo]}" if place else ""}
            )


def _by_verdict(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Kept ones from bright to dim, then the rejected ones by their reason."""
    order = {name: place for place, name in enumerate((*KEPT, *REJECTED, UNREADABLE))}
    return sorted(
        verdicts,
        key=lambda verdict: (order[verdict.verdict], -verdict.measured.brightness if verdict.measured else 0),
    )


def _tile(output: Path, verdict: Verdict, names: Mapping[str, str]) -> Tile:
    place = PLACES.get(verdict.verdict)
    measured = verdict.measured
    facts = f"Y {measured.brightness:.2f}  blur {measured.blur:.2f}" if measured else ""
    return Tile(
        output / place / names[verdict.photo] if place else None,
        verdict.verdict,
        Path(verdict.photo).name,
        verdict.why if verdict.verdict not in KEPT else facts,
    )
