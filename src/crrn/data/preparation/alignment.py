"""Real pairs whose photos are shifted against each other: measured on gradients, and mended by cropping both."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crrn.data.benchmarks.case import Progress, natural
from crrn.data.benchmarks.pairs import PAIR_FOLDERS, listing, match, pair_folders
from crrn.data.photos import read_image, read_photo, upright_size
from crrn.data.preparation.duplicates import Hashed, hashes_below, likest, likest_of
from crrn.data.preparation.journal import append_journal, claim_output, fault, read_journal
from crrn.data.preparation.measures import luma, perceptual_hash
from crrn.data.scenes import SCENE_PATTERN, scene_form, scene_of
from crrn.data.threads import in_threads
from crrn.errors import ConfigError, DataError
from crrn.files import write_atomically
from crrn.image.picture import Pixels

MEASURED_SIDE = 1024
"""Shifts are measured at this short side; smaller photos as they are."""
SHIFTED = 0.5
"""A pair is shifted from this many pixels at that size on: a crop by whole pixels leaves at most half a pixel."""
JPEG_QUALITY = 95

WRITTEN = ("aligned", "cropped", "unreliable")
FAULTS = ("unreadable", "size", "unmatched", "ambiguous")
ACTIONS = (*WRITTEN, "far", *FAULTS)
TABLE = "alignment.csv"
COLUMNS = (
    *("name", "shift_x", "shift_y", "reliability", "crop_x", "crop_y", "action", "why"),
    *("like", "like_bits", "against", "against_bits"),
)


@dataclass(frozen=True)
class Alignment:
    """When a pair is mended; all defaults are our choice.

    Attributes:
        reliability: shifts whose reliability (`measure_shift`) is lower are not trusted: the pair stays as it is.
        largest: pairs that are shifted by more than this share of their short side are left out.
        duplicate: photos whose 64-bit hashes differ in at most so many bits show the same.
        scene_pattern: as of `crrn.data.settings.Sources`. Pairs of one scene are never duplicates.

    Raises:
        ConfigError: a value is out of range.
    """

    reliability: float = 0.1
    largest: float = 0.1
    duplicate: int = 8
    scene_pattern: str = SCENE_PATTERN

    def __post_init__(self) -> None:
        for name, low, high in (("reliability", 0, 1), ("largest", 0, 0.5), ("duplicate", -1, 64)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ConfigError(f"alignment.{name}={value} is out of range: give {low} to {high}.")
        scene_form(self.scene_pattern, "alignment.scene_pattern")

    def scene(self, name: str) -> str:
        """The scene of a pair of this name."""
        stem = Path(name).stem
        return scene_of(stem, self.scene_pattern, default=stem)


class Shift(NamedTuple):
    """Where the background's photo shows what the mixture shows: (x + ``x``, y + ``y``) for (x, y), in pixels.

    ``reliability`` is that of `measure_shift`.
    """

    x: float
    y: float
    reliability: float


@dataclass(frozen=True)
class Measured:
    """What is known of a pair, as the journal keeps it.

    Attributes:
        name: its mixture below the folder, without the mixtures' own folder.
        sources: [file below the folder, bytes, time of change in ns] of each photo.
        height, width: of all its photos.
        shift_x, shift_y, reliability: see `Shift`.
        improves: see `improves`.
        hashes: of the mixture and the background, hexadecimal.
        outputs: what was written, below the output; empty where the pair was left out.
        crop: by which it was written.
    """

    name: str
    sources: list[list[str | int]]
    height: int
    width: int
    shift_x: float
    shift_y: float
    reliability: float
    improves: bool
    hashes: list[str]
    outputs: list[str] = field(default_factory=list)
    crop: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class PairVerdict:
    """The verdict on a pair.

    Attributes:
        name: as in `Measured`.
        action: "aligned" and "unreliable" pairs are copied, "cropped" ones are cropped. "far" ones and those of
        `FAULTS`
            are left out.
        why: the reason in words, if `action` does not say it.
        crop: the shift in whole pixels (x, y). ``background[y + crop_y, x + crop_x]`` shows the same spot as
            ``mixture[y, x]``.
        measured: None for faults.
        like, against: a near-duplicate among the pairs of other scenes, and one among the photos of the folders in
            ``against``, each with the number of different bits. None: there is none.
    """

    name: str
    action: str
    why: str = ""
    crop: tuple[int, int] = (0, 0)
    measured: Measured | None = None
    like: tuple[str, int] | None = None
    against: tuple[str, int] | None = None


@dataclass(frozen=True)
class _Pair:
    """A pair's files by role, the mixture first, and where each goes below the output."""

    name: str
    files: Mapping[str, Path]
    places: Mapping[str, str]

    def sources(self) -> list[list[str | int]]:
        """As of `Measured`."""
        return [
            [self.places[role], (status := file.stat()).st_size, status.st_mtime_ns]
            for role, file in self.files.items()
        ]


def align_pairs(
    folder: Path | str,
    output: Path | str,
    alignment: Alignment,
    against: Sequence[Path | str] = (),
    progress: Progress = lambda what, done, of: None,
) -> list[PairVerdict]:
    """Copies a folder of pairs, of which shifted ones are cropped; the folder itself is only read.

    Pairs lie as `crrn.data.pairs.find_pairs` looks for them, and lie in the output as in the folder. Photos that are
    cropped stay JPEG (quality 95) or become PNG, 8-bit RGB and upright; all others are copied byte by byte.
    OUTPUT/alignment.csv has a row for each pair. Started again, only pairs that are new, changed, or judged otherwise
    are measured and written.

    Args:
        folder: the pairs.
        output: a new folder, or one that this folder was written to before.
        alignment: when a pair is mended.
        against: folders, such as benchmarks', whose photos no pair should show.
        progress: called for each pair and photo.

    Raises:
        DataError: there is no pair in the folder, or no photo in one of ``against``.
        ConfigError: the output lies within the folder, or the folder within the output.
        RunError: the output holds something else, or cannot be written to.
    """
    folder, output = Path(folder).expanduser().resolve(), Path(output).expanduser().resolve()
    pairs, verdicts = _find(folder)
    others = [hashes_below(Path(place).expanduser(), progress) for place in against]
    verdicts += [PairVerdict(file, "unreadable", why) for known in others for file, why in known.faults.items()]
    claim_output(output, folder, "pairs")
    journal = read_journal(output, Measured, "name")
    written = {place for entry in journal.values() for place in entry.outputs}

    def known(pair: _Pair) -> bool:
        entry = journal.get(pair.name)
        if entry is None or entry.sources != pair.sources():
            return False
        verdict = judge(entry, alignment)
        wanted = (_outputs(pair, verdict), [*verdict.crop])
        return (entry.outputs, entry.crop) == wanted and all((output / place).is_file() for place in entry.outputs)

    wanted = [pair for pair in pairs if not known(pair)]
    done = len(pairs) - len(wanted)
    progress("pairs", done, len(pairs))
    work = in_threads(lambda pair: _measure_and_write(pair, output, alignment), wanted)
    for number, (pair, measured) in enumerate(zip(wanted, work, strict=True), start=done + 1):
        if isinstance(measured, PairVerdict):
            verdicts.append(measured)
            journal.pop(pair.name, None)
        else:
            journal[pair.name] = measured
            append_journal(output, measured)
        progress("pairs", number, len(pairs))
    current = [journal[pair.name] for pair in pairs if pair.name in journal]
    for place in written - {place for entry in current for place in entry.outputs}:
        (output / place).unlink(missing_ok=True)
    verdicts += _compare([judge(entry, alignment) for entry in current], others, alignment)
    verdicts.sort(key=lambda verdict: natural(verdict.name))
    _write_table(output / TABLE, verdicts)
    return verdicts


def measure_shift(mixture: Pixels, background: Pixels) -> Shift:
    """The shift between two photos (H, W, 3) of one size, in pixels.

    It is the phase correlation (`cv2.phaseCorrelate`, with a Hann window) of the Sobel magnitudes of luma. Edges of the
    scene are in both photos; brightness and the smooth part of a reflection are not. The reliability, 0 to 1, is the
    share of the correlation's power within 5x5 pixels of its peak. Of 200 couples of different photos, 0.5 % have more
    than 0.1 at 256x320, and 18 % at 128x160.
    """
    first, second = _edges(mixture), _edges(background)
    if min(first.shape) < 2:
        return Shift(0, 0, 0)
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    (x, y), reliability = cv2.phaseCorrelate(first, second, window)
    if not np.isfinite([x, y, reliability]).all():  # a photo without edges
        return Shift(0, 0, 0)
    return Shift(float(x), float(y), float(np.clip(reliability, 0, 1)))


def improves(mixture: Pixels, background: Pixels, shift: Shift) -> bool:
    """Whether the Sobel magnitudes of two photos correlate better where a shift is mended by whole pixels.

    Phase correlation weighs fine detail most and can be misled near half a pixel; this is a second opinion.
    """
    crop = round(shift.x), round(shift.y)
    height, width = mixture.shape[:2]
    if crop == (0, 0) or 2 * abs(crop[0]) >= width or 2 * abs(crop[1]) >= height:
        return False
    first, second = _edges(mixture), _edges(background)
    ours, theirs = windows(height, width, crop)
    with np.errstate(invalid="ignore", divide="ignore"):  # a part without edges correlates with nothing
        mended = np.corrcoef(first[ours].ravel(), second[theirs].ravel())[0, 1]
        return bool(mended > np.corrcoef(first.ravel(), second.ravel())[0, 1])


def judge(measured: Measured, alignment: Alignment) -> PairVerdict:
    """What becomes of a pair that was measured."""
    side = min(measured.height, measured.width)
    shift = max(abs(measured.shift_x), abs(measured.shift_y))
    if measured.reliability < alignment.reliability:
        why = f"reliability {measured.reliability:.2f} < {alignment.reliability:g}: its shift is not known"
        return PairVerdict(measured.name, "unreliable", why, measured=measured)
    if shift > alignment.largest * side:
        why = f"shifted by {shift:.1f} px, more than {alignment.largest:.0%} of its short side of {side} px"
        return PairVerdict(measured.name, "far", why, measured=measured)
    if shift <= SHIFTED * max(1.0, side / MEASURED_SIDE):
        return PairVerdict(measured.name, "aligned", measured=measured)
    if not measured.improves:
        return PairVerdict(measured.name, "aligned", "its edges agree better without a crop", measured=measured)
    crop = round(measured.shift_x), round(measured.shift_y)
    return PairVerdict(measured.name, "cropped", crop=crop, measured=measured)


def windows(height: int, width: int, crop: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The rows and columns of the mixture, and those of the background, that show the same.

    Args:
        height, width: of both.
        crop: of `PairVerdict`.
    """
    x, y = crop
    mixture = slice(max(0, -y), height - max(0, y)), slice(max(0, -x), width - max(0, x))
    background = slice(max(0, y), height - max(0, -y)), slice(max(0, x), width - max(0, -x))
    return mixture, background


def count_actions(verdicts: Iterable[PairVerdict]) -> dict[str, int]:
    """Pairs of each action, the usual ones always."""
    counts = Counter(verdict.action for verdict in verdicts)
    return {action: counts[action] for action in ACTIONS if counts[action] or action in WRITTEN}


def _find(folder: Path) -> tuple[list[_Pair], list[PairVerdict]]:
    """The pairs of a folder, and the files that are none."""
    if not folder.is_dir():
        raise DataError(f"There is no folder of pairs at {folder}: set pairs=DIR.")
    pairs, faults = [], []
    for place, roles in pair_folders(folder):
        prefix = "" if place == folder else f"{place.relative_to(folder).as_posix()}/"
        cases, problems = match({role: listing(place, name) for role, name in roles.items()}, folder.name, prefix)
        faults += [PairVerdict(problem.where, problem.kind, problem.what) for problem in problems]
        for case in cases:
            below = {
                role: file.relative_to((place / roles[role]).resolve()).as_posix()
                for role, file in case.files().items()
            }
            places = {role: f"{prefix}{roles[role]}/{name}" for role, name in below.items()}
            pairs.append(_Pair(prefix + below["mixture"], case.files(), places))
    if not pairs:
        names = " or ".join(f"{mixture}/ and {background}/" for mixture, background, _ in PAIR_FOLDERS[:2])
        first = f" ({faults[0].why})" if faults else ""
        raise DataError(
            f"No real pairs below {folder}{first}: pairs=DIR looks for {names} with the same names in both."
        )
    return pairs, faults


def _measure_and_write(pair: _Pair, output: Path, alignment: Alignment) -> Measured | PairVerdict:
    """Measures a pair, judges it and writes it; or says what is wrong with it."""
    try:
        sizes = {role: upright_size(file) for role, file in pair.files.items()}
        if len(set(sizes.values())) > 1:
            written = ", ".join(f"{role} {height}x{width}" for role, (height, width) in sizes.items())
            return PairVerdict(pair.name, "size", f"{written} (height x width): crop them alike")
        height, width = sizes["mixture"]
        factor = max(1.0, min(height, width) / MEASURED_SIDE)
        small = round(height / factor), round(width / factor)
        mixture, background = (read_photo(pair.files[role], small) for role in ("mixture", "background"))
        shift = measure_shift(mixture, background)
        measured = Measured(
            name=pair.name,
            sources=pair.sources(),
            height=height,
            width=width,
            shift_x=round(shift.x * width / small[1], 2),
            shift_y=round(shift.y * height / small[0], 2),
            reliability=round(shift.reliability, 3),
            improves=improves(mixture, background, shift),
            hashes=[f"{perceptual_hash(luma(photo)):016x}" for photo in (mixture, background)],
        )
        verdict = judge(measured, alignment)
        pictures = _cropped(pair, verdict) if verdict.action == "cropped" else {}
    except Exception as error:  # PIL's plugins raise all kinds of errors on broken files
        return PairVerdict(pair.name, "unreadable", fault(error))
    outputs = _outputs(pair, verdict)
    for (role, source), place in zip(pair.files.items(), outputs, strict=False):
        with write_atomically(output / place, place="output=DIR", sync=False) as file:
            if role not in pictures:
                with source.open("rb") as original:
                    shutil.copyfileobj(original, file)
            elif place.lower().endswith((".jpg", ".jpeg")):
                Image.fromarray(pictures[role]).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
            else:
                Image.fromarray(pictures[role]).save(file, "PNG")
    return replace(measured, outputs=outputs, crop=[*verdict.crop])


def _outputs(pair: _Pair, verdict: PairVerdict) -> list[str]:
    """The files that a pair becomes, below the output, in the order of its own; none where it is left out."""
    if verdict.action == "cropped":
        jpeg = (".jpg", ".jpeg")
        places = pair.places.values()
        return [place if place.lower().endswith(jpeg) else str(Path(place).with_suffix(".png")) for place in places]
    return [*pair.places.values()] if verdict.action in WRITTEN else []


def _cropped(pair: _Pair, verdict: PairVerdict) -> dict[str, Pixels]:
    """A pair's photos by role, cropped to what both show. The reflection layer lies as the mixture does."""
    assert verdict.measured is not None
    mixture, background = windows(verdict.measured.height, verdict.measured.width, verdict.crop)
    return {
        role: np.ascontiguousarray(read_image(file)[background if role == "background" else mixture])
        for role, file in pair.files.items()
    }


def _edges(photo: Pixels) -> NDArray[np.float32]:
    """(H, W): Sobel magnitudes of the luma of (H, W, 3)."""
    grey = np.divide(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 255, dtype=np.float32)
    return np.asarray(cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)))


def _compare(verdicts: list[PairVerdict], others: Iterable[Hashed], alignment: Alignment) -> list[PairVerdict]:
    """The verdicts with what their pairs are like."""
    if not verdicts:
        return []
    codes = [
        np.array([int(verdict.measured.hashes[photo], 16) for verdict in verdicts if verdict.measured], np.uint64)
        for photo in (0, 1)
    ]
    scenes = [alignment.scene(verdict.name) for verdict in verdicts]
    alike = likest(codes, scenes, alignment.duplicate)
    like = [found and (verdicts[found.number].name, found.bits) for found in alike]
    nearest: list[tuple[str, int] | None] = [None] * len(verdicts)
    for known in others:
        for number, found in enumerate(likest_of(codes, known.codes, alignment.duplicate)):
            before = nearest[number]
            if found is not None and (before is None or found.bits < before[1]):
                nearest[number] = str(known.files[found.number]), found.bits
    return [
        replace(verdict, like=own, against=other) for verdict, own, other in zip(verdicts, like, nearest, strict=True)
    ]


def _write_table(path: Path, verdicts: Iterable[PairVerdict]) -> None:
    with write_atomically(path, "w", place="output=DIR") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for verdict in verdicts:
            measured = verdict.measured
            shift = (measured.shift_x, measured.shift_y, measured.reliability) if measured else ("", "", "")
            like, against = verdict.like or ("", ""), verdict.against or ("", "")
            writer.writerow([verdict.name, *shift, *verdict.crop, verdict.action, verdict.why, *like, *against])
