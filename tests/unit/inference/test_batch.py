"""Which photos are meant, and what they leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from crrn.errors import DataError
from crrn.inference.batch import Record, find_inputs, plan


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a few photos, some of them hidden."""
    names = ("a.jpg", "old/b.PNG", "old/older/c.tif", ".hidden.jpg", ".thumbnails/a.jpg", "out/a.jpg", "notes.txt")
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "output", "root", "found"),
    [
        ("photos", "photos/out", "photos", ["a.jpg", "old/b.PNG", "old/older/c.tif"]),
        ("photos", "elsewhere", "photos", ["a.jpg", "old/b.PNG", "old/older/c.tif", "out/a.jpg"]),
        # the results' folder may lie above the input
        ("photos/old", "photos", "photos/old", ["b.PNG", "older/c.tif"]),
        ("photos/old", ".", "photos/old", ["b.PNG", "older/c.tif"]),
        ("photos/*.jpg", ".", "photos", ["a.jpg"]),
        # names count from the last folder before the first wildcard, whatever it matches today
        ("photos/**/*.tif", "elsewhere", "photos", ["old/older/c.tif"]),
        ("photos/**/*.jpg", "photos/out", "photos", ["a.jpg"]),
        ("photos/a.jpg", "photos/out", "photos", ["a.jpg"]),
        ("photos/.thumbnails", "elsewhere", "photos/.thumbnails", ["a.jpg"]),
    ],
)
def test_inputs(photos: Path, given: str, output: str, root: str, found: list[str]) -> None:
    assert find_inputs(given, Path(output)) == (Path(root), [Path(root, name) for name in found])
    absolute, paths = find_inputs(str(photos / given), photos / output)
    assert (absolute, paths) == (photos / root, [photos / root / name for name in found])


def test_nothing_is_found(photos: Path) -> None:
    for given, said in (("photos/*.webp", "matches no photos"), ("nothing", "no file or folder")):
        with pytest.raises(DataError, match=said):
            find_inputs(given, Path("out"))
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photos"):
        find_inputs("empty", Path("out"))


def test_only_leftovers_of_these_results_are_removed(photos: Path) -> None:
    output = photos / "results"
    (output / "old").mkdir(parents=True)
    leftovers = [output / ".a.jpg.123.tmp", output / "old/.b.PNG.4.tmp"]
    others = [output / ".z.jpg.123.tmp", output / ".tmp", output / "a.jpg.1.tmp", output / "old/.a.jpg.4.tmp"]
    for path in (*leftovers, *others):
        path.touch()
    Record(output, "settings").remove_leftovers(plan(*find_inputs("photos", output), output, ["background"]))
    assert not any(path.exists() for path in leftovers) and all(path.exists() for path in others)
