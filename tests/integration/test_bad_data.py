"""Bad input to the evaluation: named, counted, refused by default; with strict=false reported, and in no mean."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from tests.integration.conftest import Command, Outcome

IMAGES = 4


def picture(path: Path, seed: int, height: int = 32, width: int = 40, scale: float = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tiles = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3)).repeat(4, 0).repeat(4, 1)
    Image.fromarray((tiles * scale).astype(np.uint8)).save(path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Four triplets, each with a mask."""
    for n in range(IMAGES):
        picture(tmp_path / f"pairs/blended/{n}.png", n)
        picture(tmp_path / f"pairs/transmission_layer/{n}.png", 10 + n)
        picture(tmp_path / f"pairs/reflection_layer/{n}.png", 20 + n, scale=0.5)
        mask = np.zeros((32, 40), np.uint8)
        mask[8:20, 8:30] = 255
        (tmp_path / "pairs/masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / f"pairs/masks/{n}.png")
    return tmp_path / "pairs"


@pytest.fixture
def evaluate(command: Command) -> Callable[..., Outcome]:
    """Runs ``crrn-eval`` on the pairs in this process."""

    def run(*overrides: str) -> Outcome:
        given = (
            "benchmark=[folder]",
            "benchmark.folder.root=pairs",
            "protocol=[native]",
            "device=cpu",
            "name=e",
            "cases=0",
        )
        outcome = command("eval", *given, *overrides)
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    return run


def no_background(root: Path) -> None:
    (root / "transmission_layer/1.png").unlink()


def no_mixture(root: Path) -> None:
    (root / "blended/1.png").unlink()


def reflection_of_another_size(root: Path) -> None:
    picture(root / "reflection_layer/1.png", 1, 36, 40)


def mask_of_another_size(root: Path) -> None:
    Image.new("L", (44, 32), 255).save(root / "masks/1.png")


def no_image(root: Path) -> None:
    (root / "transmission_layer/1.png").write_text("<html>")


def no_mask(root: Path) -> None:
    (root / "masks/1.png").unlink()


def stray_mask(root: Path) -> None:
    shutil.copy(root / "masks/1.png", root / "masks/11.png")


def two_files(root: Path) -> None:
    picture(root / "blended/1.bmp", 1)


MASKS = "benchmark.folder.masks=pairs/masks"


@pytest.mark.parametrize(
    ("harm", "overrides", "error", "named", "bad"),
    [
        (no_background, (), "1 x unmatched", "1: .*blended/1.png", True),
        (no_mixture, (), "1 x unmatched", "1: .*transmission_layer/1.png", True),
        (reflection_of_another_size, (), "1 x size", "1: .*reflection 36x40", True),
        (mask_of_another_size, (MASKS,), "1 x size", "1: .*mask 32x44", True),
        (no_image, (), "1 x unreadable", "1: .*transmission_layer/1.png", True),
        (two_files, (), "1 x ambiguous", "1: 1.bmp and 1.png", True),
        (no_mask, (MASKS,), "1 x mask", "1: no mask", False),
        (stray_mask, (MASKS,), "1 x mask", "11: .*masks/11.png", False),
        (lambda root: None, ("benchmark.folder.count=[3,5]",), "1 x count", "pairs: 4 .* 3 or 5", False),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_bad_is_named_counted_and_in_no_mean(
    harm: Callable[[Path], None],
    overrides: tuple[str, ...],
    error: str,
    named: str,
    bad: bool,
    evaluate: Callable[..., Outcome],
    pairs: Path,
    tmp_path: Path,
) -> None:
    expected = {
        str(n): peak_signal_noise_ratio(
            np.asarray(Image.open(pairs / f"transmission_layer/{n}.png")),
            np.asarray(Image.open(pairs / f"blended/{n}.png")),
        )
        for n in range(IMAGES)
        if n != 1 or not bad
    }
    harm(pairs)
    outcome = evaluate(*overrides)
    assert outcome.status == 1 and error in outcome.err and "strict=false" in outcome.err, outcome.err

    outcome = evaluate(*overrides, "strict=false")
    assert outcome.status == 0, outcome.err
    assert re.search(named, outcome.out), outcome.out
    summary = json.loads((tmp_path / "evaluations/e/summary.json").read_text())
    identity = summary["results"][0]["removers"]["identity"]
    problems = summary["evaluation"]["benchmarks"]["pairs"]["problems"]
    assert len(problems) + len(identity["problems"]) == 1
    assert identity["images"] == len(expected)
    assert identity["metrics"]["psnr"]["mean"] == pytest.approx(np.mean(list(expected.values())), abs=1e-6)
    with (tmp_path / "evaluations/e/images/pairs/native/identity.csv").open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert {image for image, row in rows.items() if row["psnr"]} == set(expected)


@pytest.mark.parametrize("derived", [True, False])
def test_an_empty_mask_is_no_zero(derived: bool, evaluate: Callable[..., Outcome], pairs: Path, tmp_path: Path) -> None:
    if derived:  # a reflection too dim to dominate anywhere: no mistake of the data
        Image.new("RGB", (40, 32), (9, 9, 9)).save(pairs / "reflection_layer/1.png")
        overrides = []
    else:
        Image.new("L", (40, 32)).save(pairs / "masks/1.png")
        overrides = [MASKS]
        outcome = evaluate(*overrides)
        assert outcome.status == 1 and "masks/1.png" in outcome.err
        overrides.append("strict=false")
    outcome = evaluate(*overrides)
    assert outcome.status == 0, outcome.err
    (result,) = json.loads((tmp_path / "evaluations/e/summary.json").read_text())["results"]
    metrics = result["removers"]["identity"]["metrics"]
    assert (metrics["ssim"]["images"], metrics["ssim"]["skipped"]) == (IMAGES, 0)
    assert result["masks"].startswith("derived" if derived else "from a folder")
    with (tmp_path / "evaluations/e/images/pairs/native/identity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for metric in ("ssim_r", "si_r"):
        assert (metrics[metric]["images"], metrics[metric]["skipped"]) == (IMAGES - 1, 1)
        values = [float(row[metric]) for row in rows if row[metric]]
        assert len(values) == IMAGES - 1 and metrics[metric]["mean"] == pytest.approx(np.mean(values))
    assert re.search("SSIMr and SIr: 1\\b", outcome.out.replace("\n", " "))


def test_a_benchmark_without_a_sound_case_is_refused(evaluate: Callable[..., Outcome], pairs: Path) -> None:
    for n in range(IMAGES):
        picture(pairs / f"blended/{n}.png", n, 36, 40)
    outcome = evaluate("strict=false")
    assert outcome.status == 1 and re.search(r"\bpairs\b.*\b0: ", outcome.err)
