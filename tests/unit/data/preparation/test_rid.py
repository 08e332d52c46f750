"""Photos of reflections become a set: measured, judged, resized upright, and never touched."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.measure import blur_effect
from tests.conftest import write_photo as write_smooth

from crrn.data import demo_photos
from crrn.data.photos import read_image
from crrn.data.preparation import Screening, Verdict, make_reflection_set, rid
from crrn.data.preparation.measures import blur, luma, perceptual_hash
from crrn.errors import ConfigError, DataError, RunError

SMALL = Screening(size=60, min_side=40)


def write_photo(path: Path, seed: int, height: int, width: int) -> None:
    """A photo with fine texture, so that it is sharp."""
    write_smooth(path, seed, height, width)
    tiles = np.random.default_rng(seed).integers(-40, 40, (height // 3 + 1, width // 3 + 1, 1))
    texture = tiles.repeat(3, 0).repeat(3, 1)[:height, :width]
    save(path, (pixels(path) + texture).clip(0, 255).astype(np.uint8))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def save(path: Path, photo: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path, quality=95)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven photos: five good ones, and one of each fault."""
    root = tmp_path / "shots"
    for n in range(4):
        write_photo(root / f"IMG_{n}.jpg", n, 90, 120)
    dim = (pixels(root / "IMG_0.jpg")[:, ::-1] * 0.35).astype(np.uint8)
    save(root / "evening/dim.png", dim)
    photo = pixels(root / "IMG_1.jpg")
    save(root / "black.jpg", (photo * 0.05).astype(np.uint8))
    save(root / "shaken.jpg", cv2.GaussianBlur(pixels(root / "IMG_2.jpg")[::-1].copy(), (0, 0), 9))
    save(root / "burst.jpg", cv2.GaussianBlur(cv2.resize(photo, (240, 180)), (0, 0), 1.5))
    save(root / "thumb.jpg", cv2.resize(photo[:, ::-1], (40, 30)))
    (root / "torn.jpg").write_bytes((root / "IMG_3.jpg").read_bytes()[:900])
    (root / "notes.txt").write_text("where and when")
    return root


def by_name(verdicts: list[Verdict]) -> dict[str, str]:
    return {verdict.photo: verdict.verdict for verdict in verdicts}


def state(root: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def manifest(output: Path) -> dict[str, dict[str, str]]:
    with (output / "manifest.csv").open(newline="") as file:
        return {row["photo"]: row for row in csv.DictReader(file)}


def test_each_photo_has_its_verdict_and_its_place(folder: Path, tmp_path: Path) -> None:
    before, output = state(folder), tmp_path / "set"
    verdicts = make_reflection_set(folder, output, SMALL)
    assert by_name(verdicts) == {
        **dict.fromkeys((f"IMG_{n}.jpg" for n in range(4)), "bright"),
        "evening/dim.png": "dim",
        "black.jpg": "dark",
        "shaken.jpg": "blurred",
        "burst.jpg": "duplicate",
        "thumb.jpg": "small",
        "torn.jpg": "unreadable",
    }
    assert state(folder) == before
    rows = manifest(output)
    for name, row in rows.items():
        if row["verdict"] != "unreadable":
            short = min(pixels(output / row["output"]).shape[:2])
            assert short == (60 if row["verdict"] != "small" else 30), name
    assert rows["burst.jpg"]["like"] == "IMG_1.jpg" and int(rows["burst.jpg"]["distance"]) <= SMALL.duplicate
    assert "torn.jpg" in rows["torn.jpg"]["why"] and rows["torn.jpg"]["output"] == ""
    photo = pixels(folder / "IMG_2.jpg")
    grey = np.asarray(Image.fromarray(photo).convert("L")) / 255
    assert float(rows["IMG_2.jpg"]["brightness"]) == pytest.approx(grey.mean(), abs=0.01)
    assert float(rows["IMG_2.jpg"]["highlight"]) == pytest.approx(np.percentile(grey, 95), abs=0.02)
    kept = {path.relative_to(output / "photos").as_posix() for path in (output / "photos").rglob("*.jpg")}
    assert kept == {*(f"bright/IMG_{n}.jpg" for n in range(4)), "dim/evening/dim.png.jpg"}
    assert json.loads((output / "summary.json").read_text())["verdicts"]["bright"] == 4
    with Image.open(output / "sheet-1.jpg") as sheet:
        assert sheet.size == (10 * 168 + 10, 162 + 10)
        frames = {sheet.getpixel((10 + n * 168, 10 + 60)) for n in range(10)}
    assert len(frames) >= 3  # bright, dim and rejected have colours of their own


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_upright(orientation: int, tmp_path: Path) -> None:
    scene = np.zeros((80, 120, 3), np.uint8) + 90
    scene[:40, :60] = (250, 40, 40)  # red in the upper left corner
    scene[50:, 90:] = (40, 40, 250)
    save_as = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]  # the inverse turn
    turns = Image.Transpose
    turn = {2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE}
    turn |= {6: turns.ROTATE_270, 7: turns.TRANSVERSE, 8: turns.ROTATE_90}
    image = Image.fromarray(scene)
    stored = image.transpose(turn[save_as]) if save_as != 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "shots").mkdir()
    stored.save(tmp_path / "shots/a.jpg", quality=95, exif=exif)
    make_reflection_set(tmp_path / "shots", tmp_path / "set", Screening(size=40, min_side=40, blurred=1.0))
    (written,) = (tmp_path / "set/photos").rglob("a.jpg")
    photo = pixels(written).astype(int)
    assert photo.shape == (40, 60, 3)
    assert photo[10, 15, 0] > 200 and photo[35, 55, 2] > 200 and abs(photo[35, 5] - 90).max() < 20
    with Image.open(written) as image:
        assert image.getexif().get(0x0112, 1) == 1


def test_a_second_start_measures_only_what_is_new(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "set"
    make_reflection_set(folder, output, SMALL)
    whole, journal = (output / "manifest.csv").read_bytes(), output / ".measures.jsonl"
    measured: list[str] = []
    real = rid._measure
    monkeypatch.setattr(rid, "_measure", lambda *given: (measured.append(given[1]), real(*given))[1])

    make_reflection_set(folder, output, SMALL)
    assert measured == ["torn.jpg"] and (output / "manifest.csv").read_bytes() == whole

    # Killed in the middle: the journal's last line is torn, one picture is still where its own measures sent it.
    lines = journal.read_text().splitlines(keepends=True)
    cut = json.loads(lines[-1])["photo"]
    journal.write_text("".join(lines[:-1]) + lines[-1][:40])
    (output / "rejected/duplicate/burst.jpg").rename(output / "photos/bright/burst.jpg")
    measured.clear()
    make_reflection_set(folder, output, SMALL)
    assert sorted(measured) == sorted({"torn.jpg", cut})
    assert (output / "manifest.csv").read_bytes() == whole
    assert (output / "rejected/duplicate/burst.jpg").exists()

    # Other thresholds need no new measures; a changed photo and another size do.
    measured.clear()
    verdicts = by_name(make_reflection_set(folder, output, Screening(size=60, min_side=40, dark=0, blurred=1)))
    assert (
        measured == ["torn.jpg"]
        and verdicts["black.jpg"] in ("dim", "duplicate")
        and verdicts["shaken.jpg"] == "bright"
    )
    write_photo(folder / "IMG_3.jpg", 33, 90, 120)
    measured.clear()
    make_reflection_set(folder, output, SMALL)
    assert sorted(measured) == ["IMG_3.jpg", "torn.jpg"]
    measured.clear()
    make_reflection_set(folder, output, Screening(size=50, min_side=40))
    assert len(measured) == 10


def test_outputs_are_claimed_and_inputs_are_safe(folder: Path, tmp_path: Path) -> None:
    for output in (folder, folder / "set", tmp_path):
        with pytest.raises(ConfigError, match=str(output)):
            make_reflection_set(folder, output, SMALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.jpg").write_text("precious")
    with pytest.raises(RunError, match="mine"):
        make_reflection_set(folder, tmp_path / "mine", SMALL)
    make_reflection_set(folder, tmp_path / "set", SMALL)
    write_photo(tmp_path / "others/1.jpg", 1, 90, 120)
    with pytest.raises(RunError, match="output"):
        make_reflection_set(tmp_path / "others", tmp_path / "set", SMALL)


def test_nothing_to_take_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        make_reflection_set(tmp_path / "missing", tmp_path / "set", SMALL)
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots/IMG_1.HEIC").write_text("")
    with pytest.raises(DataError, match=r"1 \.heic"):
        make_reflection_set(tmp_path / "shots", tmp_path / "set", SMALL)
    save(tmp_path / "shots/black.jpg", np.zeros((90, 120, 3), np.uint8))
    with pytest.raises(DataError, match="shots"):
        make_reflection_set(tmp_path / "shots", tmp_path / "set", SMALL)
    for a in ("a.png", "a.png.jpg"):
        write_photo(tmp_path / "twins" / a, 1, 90, 120)
    with pytest.raises(DataError, match=r"a\.png\.jpg"):
        make_reflection_set(tmp_path / "twins", tmp_path / "set2", SMALL)
    with pytest.raises(ConfigError, match=r"screening\.dark=2"):
        Screening(dark=2)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 4.0])
def test_blur_is_the_published_measure(sigma: float, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", 3, 90, 120)
    grey = luma(pixels(tmp_path / "a.png"))
    grey = cv2.GaussianBlur(grey, (0, 0), sigma) if sigma else grey
    assert blur(grey) == pytest.approx(blur_effect(grey), abs=2e-4)


def test_blur_and_hash_of_a_blank_photo() -> None:
    assert blur(np.full((50, 60), 0.5, np.float32)) == 1
    assert 0 <= perceptual_hash(np.zeros((50, 60), np.float32)) < 2**64


def distorted(photo: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "smaller": cv2.resize(photo, (150, 110), interpolation=cv2.INTER_AREA),
        "darker": (photo * 0.7).astype(np.uint8),
        "blurred": cv2.GaussianBlur(photo, (0, 0), 2),
        "noisy": (photo + np.random.default_rng(0).normal(0, 8, photo.shape)).clip(0, 255).astype(np.uint8),
    }


@pytest.mark.parametrize("change", ["smaller", "darker", "blurred", "noisy"])
def test_the_hash_knows_a_photo_again_and_tells_others_apart(change: str, tmp_path: Path) -> None:
    codes = []
    for seed in range(6):
        write_photo(tmp_path / f"{seed}.png", seed, 220, 300)
        photo = pixels(tmp_path / f"{seed}.png")
        codes.append(perceptual_hash(luma(photo)))
        assert (codes[-1] ^ perceptual_hash(luma(distorted(photo)[change]))).bit_count() <= Screening.duplicate
    for seed, code in enumerate(codes):
        assert all((code ^ other).bit_count() > Screening.duplicate for other in codes[:seed])


def test_many_photos_need_several_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crrn.data.preparation import sheet

    monkeypatch.setattr(sheet, "ROWS", 1)
    monkeypatch.setattr(sheet, "COLUMNS", 4)
    tiles = [sheet.Tile(None, "dark", f"{n}", "x" * 80) for n in range(9)]
    quiet: Callable[[str, int, int], None] = lambda what, done, of: None  # noqa: E731
    assert [path.name for path in sheet.write_sheets(tiles, tmp_path, quiet)] == [f"sheet-{n}.jpg" for n in (1, 2, 3)]
    sheet.write_sheets(tiles[:2], tmp_path, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet-1.jpg"]


@pytest.mark.slow
def test_blur_and_hash_of_natural_photos_are_as_the_docstrings_say() -> None:
    """The defaults of the screening lie between these: `blurred` 0.65, `duplicate` 8."""
    sharp, blurred, codes = [], [], []
    halved, compressed, cut = [], [], []
    for file in demo_photos().files:
        photo = read_image(file)
        grey = luma(photo)
        sharp.append(blur(grey))
        blurred.append(blur(cv2.GaussianBlur(grey, (0, 0), 3)))
        codes.append(perceptual_hash(grey))
        height, width = photo.shape[:2]
        half = cv2.resize(photo, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        jpeg = cv2.imdecode(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
        inner = photo[int(0.02 * height) : -int(0.02 * height), int(0.02 * width) : -int(0.02 * width)].copy()
        for found, copied in ((halved, half), (compressed, jpeg), (cut, inner)):
            found.append((codes[-1] ^ perceptual_hash(luma(copied))).bit_count())
    apart = [(one ^ other).bit_count() for one, other in combinations(codes, 2)]

    assert len(codes) == 31
    assert max(sharp) < 0.52 and np.median(sharp) < 0.32 and np.median(blurred) > 0.74
    assert max(halved + compressed) <= 2 and max(cut) <= 12
    assert min(apart) >= 18 and 31 <= np.mean(apart) < 32
    assert max(sharp) < Screening.blurred < np.median(blurred) and max(halved) < Screening.duplicate < min(apart)
