"""A benchmark checked in full: torn images, pictures that are there twice, its index and its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crrn.data.benchmarks import inspect, paired_folder
from crrn.data.preparation import check, write_index


def write(path: Path, seed: int, height: int = 12, width: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Four pairs."""
    for n in range(4):
        write(tmp_path / f"blended/{n}.png", n)
        write(tmp_path / f"transmission_layer/{n}.png", 50 + n)
    return tmp_path


def torn(root: Path) -> None:
    path = root / "blended/1.png"
    path.write_bytes(path.read_bytes()[:300])


def twice(root: Path) -> None:  # the same pixels, in another file format
    (root / "blended/1.png").unlink()
    Image.open(root / "blended/0.png").save(root / "blended/1.bmp")


def its_own_background(root: Path) -> None:
    (root / "blended/1.png").write_bytes((root / "transmission_layer/1.png").read_bytes())


@pytest.mark.parametrize(
    ("harm", "kind", "says", "left"),
    [
        (torn, "unreadable", "1.png", 3),
        (twice, "duplicate", "of 0", 4),
        (its_own_background, "duplicate", "background", 4),
    ],
    ids=["torn", "twice", "own background"],
)
def test_what_only_pixels_show(harm: Callable[[Path], None], kind: str, says: str, left: int, pairs: Path) -> None:
    assert check(paired_folder(pairs)).benchmark.problems == ()
    harm(pairs)
    assert inspect(paired_folder(pairs)).problems == ()  # headers and bytes alone do not
    checked = check(paired_folder(pairs))
    (problem,) = checked.benchmark.problems
    assert (problem.kind, problem.where) == (kind, "1") and says in problem.what
    assert len(checked.benchmark.cases) == left == len(checked.sizes)
    assert checked.benchmark.fingerprint == inspect(paired_folder(pairs)).fingerprint


def test_an_empty_mask_is_named_and_its_case_stays(pairs: Path) -> None:
    for n in range(4):
        (pairs / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.full((12, 16), 255 * (n != 2), np.uint8)).save(pairs / f"masks/{n}.png")
    checked = check(paired_folder(pairs, masks=pairs / "masks"))
    (problem,) = checked.benchmark.problems
    assert (problem.kind, problem.where) == ("mask", "2") and "masks/2.png" in problem.what
    assert len(checked.benchmark.cases) == 4


def test_the_index_holds_each_case_and_is_the_same_again(pairs: Path) -> None:
    write(pairs / "reflection_layer/2.png", 99)
    seen: list[tuple[str, int, int]] = []
    checked = check(paired_folder(pairs, name="mine", count=[4, 5]), lambda *step: seen.append(step))
    write_index(checked, pairs / "index/mine.json")
    text = (pairs / "index/mine.json").read_text()
    index = json.loads(text)
    assert Path(index["root"]) == pairs.resolve()
    assert index["fingerprint"] == inspect(paired_folder(pairs)).fingerprint
    assert (index["images"], index["subsets"], index["published"]) == (4, {"mine": 4}, {"mine": [4, 5]})
    assert index["layers"] == {"mixture": 4, "background": 4, "reflection": 1, "mask": 0}
    assert index["cases"][2] == {
        "name": "2",
        "subset": "mine",
        "height": 12,
        "width": 16,
        "files": {
            "mixture": "blended/2.png",
            "background": "transmission_layer/2.png",
            "reflection": "reflection_layer/2.png",
        },
        "categories": {},
    }
    assert [step for step in seen if step[0] == "mine: every image"] == [
        ("mine: every image", n, 4) for n in range(1, 5)
    ]
    write_index(check(paired_folder(pairs, name="mine", count=[4, 5])), pairs / "index/mine.json")
    assert (pairs / "index/mine.json").read_text() == text
