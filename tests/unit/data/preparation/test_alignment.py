"""Shifted pairs are found and cropped, in a copy; the shifts are known ones, made by SciPy."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from crrn.data.pairs import find_pairs
from crrn.data.preparation import Alignment, PairVerdict, align_pairs, alignment
from crrn.data.preparation.alignment import COLUMNS, Shift, improves, measure_shift, windows
from crrn.errors import ConfigError, DataError, RunError

HEIGHT, WIDTH, MARGIN = 120, 160, 24


def scene(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A photo of boxes on smooth colours, float in [0, 255]."""
    rng = np.random.default_rng(seed)
    photo = ndimage.zoom(rng.uniform(60, 180, (4, 5, 3)), (height / 4, width / 5, 1), order=1)
    for _ in range(40):
        y, x = rng.integers(0, height - 6), rng.integers(0, width - 6)
        photo[y : y + rng.integers(5, 30), x : x + rng.integers(5, 30)] = rng.uniform(20, 235, 3)
    return ndimage.gaussian_filter(photo, (0.7, 0.7, 0))


def shifted_pair(seed: int, x: float, y: float, strength: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """A mixture, and its background whose content lies (x, y) further; both uint8."""
    whole = scene(seed, HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN)
    moved = ndimage.shift(whole, (y, x, 0), order=3, mode="nearest")
    veil = ndimage.gaussian_filter(scene(1000 + seed, *whole.shape[:2]), (4, 4, 0))
    mixture = 0.75 * whole + strength * veil
    inner = slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN)
    return tuple(photo[inner].clip(0, 255).round().astype(np.uint8) for photo in (mixture, moved))  # type: ignore[return-value]


def write_pair(root: Path, name: str, mixture: np.ndarray, background: np.ndarray, **more: Any) -> None:
    for role, photo in {"blended": mixture, "transmission_layer": background, **more}.items():
        (root / role).mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(root / role / name, quality=95)


def rows(output: Path) -> dict[str, dict[str, str]]:
    with (output / "alignment.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == [*COLUMNS]
        return {row["name"]: row for row in reader}


def actions(verdicts: list[PairVerdict]) -> dict[str, str]:
    return {verdict.name: verdict.action for verdict in verdicts}


def state(root: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(
    "shift", [(0, 0), (1, 0), (-3, 2), (0.2, -0.1), (1.3, 0.25), (-0.75, -2.4), (9.5, -7)], ids=str
)
def test_known_shifts_are_found(shift: tuple[float, float]) -> None:
    errors = []
    for seed in range(4):
        mixture, background = shifted_pair(seed, *shift)
        found = measure_shift(mixture, background)
        assert found[:2] == pytest.approx(shift, abs=0.35)
        assert 0.3 < found.reliability <= 1
        errors += [abs(own - true) for own, true in zip(found, shift, strict=False)]
        edges = [np.hypot(*np.gradient(photo.mean(axis=2))) for photo in (background, mixture)]
        y, x = phase_cross_correlation(*edges, upsample_factor=20)[0]
        assert found[:2] == pytest.approx((x, y), abs=0.35)
        assert improves(mixture, background, found) == (max(map(abs, shift)) > 0.5)
    assert np.mean(errors) < 0.25


def test_photos_of_different_things_are_not_reliable() -> None:
    photos = [scene(n, 300, 400).astype(np.uint8) for n in range(11)]
    assert max(measure_shift(one, other).reliability for one, other in pairwise(photos)) < 0.15
    flat = np.full((40, 40, 3), 90, np.uint8)
    assert measure_shift(flat, flat).reliability == 0
    assert not improves(flat, flat, Shift(3, 0, 1))
    assert measure_shift(flat[:1], flat[:1]).reliability == 0


@pytest.mark.parametrize("crop", [(0, 0), (3, 0), (0, -2), (-4, 5), (1, 1)], ids=str)
def test_windows_show_the_same(crop: tuple[int, int]) -> None:
    y, x = np.mgrid[:30, :40]
    mixture, background = np.stack([x, y], axis=2), np.stack([x - crop[0], y - crop[1]], axis=2)
    first, second = windows(30, 40, crop)
    assert np.array_equal(mixture[first], background[second])
    assert mixture[first].shape == (30 - abs(crop[1]), 40 - abs(crop[0]), 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pairs: one aligned, three shifted (a JPEG, a PNG with its reflection, a WebP), and one of each fault."""
    root = tmp_path / "pairs"
    write_pair(root, "hall_1_still.jpg", *shifted_pair(1, 0.2, 0.1))
    write_pair(root, "hall_2_right.jpg", *shifted_pair(2, 2.2, 0))
    mixture, background = shifted_pair(3, -1.1, 3)
    write_pair(root, "hall_3_down.png", mixture, background, reflection_layer=mixture // 3)
    write_pair(root, "hall_4_up.webp", *shifted_pair(4, 0, -1))
    write_pair(root, "hall_5_other.jpg", scene(5).astype(np.uint8), scene(6).astype(np.uint8))
    write_pair(root, "hall_6_far.jpg", *shifted_pair(7, 20, 0))
    write_pair(root, "hall_7_size.jpg", mixture, background[:-3])
    write_pair(root, "hall_8_torn.jpg", mixture, background)
    torn = root / "blended/hall_8_torn.jpg"
    torn.write_bytes(torn.read_bytes()[:900])
    Image.fromarray(mixture).save(root / "blended/hall_9_alone.jpg")
    return root


def test_shifted_pairs_are_cropped_in_a_copy(folder: Path, tmp_path: Path) -> None:
    before, output = state(folder), tmp_path / "aligned"
    verdicts = align_pairs(folder, output, Alignment())
    assert actions(verdicts) == {
        "hall_1_still.jpg": "aligned",
        "hall_2_right.jpg": "cropped",
        "hall_3_down.png": "cropped",
        "hall_4_up.webp": "cropped",
        "hall_5_other.jpg": "unreliable",
        "hall_6_far.jpg": "far",
        "hall_7_size.jpg": "size",
        "hall_8_torn.jpg": "unreadable",
        "hall_9_alone": "unmatched",
    }
    assert state(folder) == before
    table = rows(output)
    assert float(table["hall_2_right.jpg"]["shift_x"]) == pytest.approx(2.2, abs=0.25)
    assert [table["hall_3_down.png"][key] for key in ("crop_x", "crop_y")] == ["-1", "3"]
    for name in ("hall_1_still.jpg", "hall_5_other.jpg"):
        for role in ("blended", "transmission_layer"):
            assert (output / role / name).read_bytes() == (folder / role / name).read_bytes()
    # PNG is lossless: the pixels are those of the originals
    mixture, background, reflection = (
        pixels(output / role / "hall_3_down.png") for role in ("blended", "transmission_layer", "reflection_layer")
    )
    assert np.array_equal(mixture, pixels(folder / "blended/hall_3_down.png")[:-3, 1:])
    assert np.array_equal(background, pixels(folder / "transmission_layer/hall_3_down.png")[3:, :-1])
    assert np.array_equal(reflection, pixels(folder / "reflection_layer/hall_3_down.png")[:-3, 1:])
    # what training takes has pairs of one size that are aligned
    source = find_pairs([output])
    assert [pair.mixture.name for pair in source.pairs] == [
        *("hall_1_still.jpg", "hall_2_right.jpg", "hall_3_down.png", "hall_4_up.png", "hall_5_other.jpg")
    ]
    for pair in source.pairs[:4]:
        left = measure_shift(pixels(pair.mixture), pixels(pair.background))
        assert max(abs(left.x), abs(left.y)) < 0.5, pair


def test_a_large_photo_is_measured_small_and_cropped_at_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment, "MEASURED_SIDE", HEIGHT // 2)
    write_pair(tmp_path / "pairs", "a_1.png", *shifted_pair(1, 4, -2))
    write_pair(tmp_path / "pairs", "a_2.png", *shifted_pair(2, 0.8, 0))
    first, second = align_pairs(tmp_path / "pairs", tmp_path / "out", Alignment())
    assert first.measured is not None and first.crop == (4, -2)
    assert (first.measured.shift_x, first.measured.shift_y) == pytest.approx((4, -2), abs=0.5)
    assert pixels(tmp_path / "out/blended/a_1.png").shape == (HEIGHT - 2, WIDTH - 4, 3)
    assert second.action == "aligned"  # 0.4 pixels at the measured size


def test_a_second_start_does_only_what_is_left(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, real, began = tmp_path / "aligned", measure_shift, []

    def counted(mixture: np.ndarray, background: np.ndarray) -> Any:
        began.append(1)
        if len(began) == 3 and not output.joinpath("alignment.csv").exists():
            raise KeyboardInterrupt
        return real(mixture, background)

    monkeypatch.setattr(alignment, "measure_shift", counted)
    with monkeypatch.context() as one_by_one:
        one_by_one.setattr(alignment, "in_threads", map)
        with pytest.raises(KeyboardInterrupt):
            align_pairs(folder, output, Alignment())
    align_pairs(folder, output, Alignment())
    whole = state(output)
    began.clear()
    align_pairs(folder, output, Alignment())
    assert not began and state(output).keys() == whole.keys()
    # other settings, a changed file, a file that went
    align_pairs(folder, output, Alignment(reliability=0, largest=0.5))
    assert pixels(output / "blended/hall_6_far.jpg").shape[1] == WIDTH - 20
    align_pairs(folder, output, Alignment())
    assert not (output / "blended/hall_6_far.jpg").exists()
    write_pair(folder, "hall_2_right.jpg", *shifted_pair(2, 0, 0))
    for role in ("blended", "transmission_layer"):
        (folder / role / "hall_4_up.webp").unlink()
    verdicts = align_pairs(folder, output, Alignment())
    assert actions(verdicts)["hall_2_right.jpg"] == "aligned" and "hall_4_up.webp" not in actions(verdicts)
    assert not list(output.rglob("hall_4*"))
    fresh = tmp_path / "fresh"
    align_pairs(folder, fresh, Alignment())
    assert rows(fresh) == rows(output)
    names = [
        {path.relative_to(root): data for path, (data, _) in state(root / "blended").items()}
        for root in (fresh, output)
    ]
    assert names[0] == names[1]


def test_pairs_below_the_folder_and_behind_links_keep_their_places(tmp_path: Path) -> None:
    write_pair(tmp_path / "elsewhere", "a_1.png", *shifted_pair(1, 1, 0))
    write_pair(tmp_path / "pairs/june", "a_1.png", *shifted_pair(2, 0, 0))
    (tmp_path / "pairs/may").mkdir()
    for role in ("blended", "transmission_layer"):
        (tmp_path / "pairs/may" / role).symlink_to(tmp_path / "elsewhere" / role)
    verdicts = align_pairs(tmp_path / "pairs", tmp_path / "out", Alignment())
    assert actions(verdicts) == {"june/a_1.png": "aligned", "may/a_1.png": "cropped"}
    assert (tmp_path / "out/may/blended/a_1.png").is_file() and (tmp_path / "out/june/blended/a_1.png").is_file()


def test_near_duplicates_are_reported(tmp_path: Path) -> None:
    root, benchmark = tmp_path / "pairs", tmp_path / "benchmark/deep"
    for seed in range(5):
        write_pair(root, f"street_{seed}_0.jpg", *shifted_pair(seed, 0, 0))
    again = [cv2.resize(photo, (WIDTH // 2, HEIGHT // 2)) for photo in shifted_pair(2, 0, 0)]
    write_pair(root, "street_2_1.jpg", *again)  # of the same scene
    write_pair(root, "house_9_0.jpg", *again)
    benchmark.mkdir(parents=True)
    Image.fromarray(shifted_pair(4, 0, 0)[1]).resize((320, 240)).save(benchmark / "17.png")
    Image.fromarray(scene(50).astype(np.uint8)).save(benchmark / "18.png")
    (benchmark / "19.png").write_bytes(b"no picture")
    verdicts = {one.name: one for one in align_pairs(root, tmp_path / "out", Alignment(), [tmp_path / "benchmark"])}
    like = {name: one.like[0] for name, one in verdicts.items() if one.like}
    assert like == dict.fromkeys(("street_2_0.jpg", "street_2_1.jpg"), "house_9_0.jpg") | {
        "house_9_0.jpg": "street_2_1.jpg"
    }
    assert {name: Path(one.against[0]).name for name, one in verdicts.items() if one.against} == {
        "street_4_0.jpg": "17.png"
    }
    assert verdicts[str(benchmark / "19.png")].action == "unreadable"
    table = rows(tmp_path / "out")
    assert table["street_4_0.jpg"]["against"] == str(benchmark / "17.png")
    assert int(table["house_9_0.jpg"]["like_bits"]) == 0
    every = Alignment(scene_pattern="([^_]+)")  # all streets are one scene
    assert align_pairs(root, tmp_path / "out", every)[0].like == ("street_2_1.jpg", 0)


def test_what_cannot_be_done_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no folder of pairs .*set pairs=DIR"):
        align_pairs(tmp_path / "missing", tmp_path / "out", Alignment())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"No real pairs below .*blended/ and transmission_layer/"):
        align_pairs(tmp_path / "empty", tmp_path / "out", Alignment())
    for output in (folder, folder / "out", tmp_path):
        with pytest.raises(ConfigError, match="lie within each other"):
            align_pairs(folder, output, Alignment())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.jpg").write_text("precious")
    with pytest.raises(RunError, match="holds other files"):
        align_pairs(folder, tmp_path / "mine", Alignment())
    for against, says in ((tmp_path / "missing", "There is no folder"), (tmp_path / "empty", "No readable photo")):
        with pytest.raises(DataError, match=rf"{says} .*set against="):
            align_pairs(folder, tmp_path / "out", Alignment(), [against])
    for settings, says in (
        ({"reliability": 2}, r"alignment\.reliability=2 is out of range: give 0 to 1"),
        ({"largest": "much"}, r"alignment\.largest=much"),
        ({"scene_pattern": "("}, r"alignment\.scene_pattern='\(' is not a regular expression"),
        ({"scene_pattern": "a"}, r"alignment\.scene_pattern='a' has no group"),
    ):
        with pytest.raises(ConfigError, match=says):
            Alignment(**settings)


def test_real_pairs_are_measured_as_by_others(shared_data: Path) -> None:
    """Every fourth row of alignment.csv, an independent measurement on gradients."""
    with (shared_data / "pairs/alignment.csv").open(newline="") as file:
        known = [row for row in csv.DictReader(file) if float(row["response"]) >= 0.1][::4]
    near = shifted = 0
    for row in known:
        photos = (pixels(shared_data / "pairs" / role / row["name"]) for role in ("blended", "transmission_layer"))
        found = measure_shift(*photos)
        expected = float(row["dx"]), float(row["dy"])
        near += found[:2] == pytest.approx(expected, abs=0.25)
        shifted += (max(map(abs, found[:2])) > 0.5) == (max(map(abs, expected)) > 0.5)
    assert len(known) > 200 and near >= 0.95 * len(known) and shifted >= 0.95 * len(known)
