"""Which photos are meant, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crrn.errors import DataError
from crrn.files import write_atomically
from crrn.inference.batch import RECORD, Job, Record, find_inputs, listed, plan


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
    for base in (Path(), photos):
        inputs = find_inputs([str(base / given)], base / output)
        assert list(inputs.photos) == [base / root / name for name in found]
        assert [str(name) for name in inputs.photos.values()] == found


def test_several_inputs_are_one_list_without_doubles(photos: Path) -> None:
    inputs = find_inputs(["photos/old/b.PNG", "photos/a.jpg", str(photos / "photos")], Path("photos/out"))
    assert list(inputs.photos.values()) == [Path("b.PNG"), Path("a.jpg"), Path("old/older/c.tif")]
    jobs = plan(inputs.photos, Path("results"), ["background"])
    assert [str(job.outputs["background"]) for job in jobs] == [
        "results/b.PNG",
        "results/a.jpg",
        "results/old/older/c.tif",
    ]
    (photos / "photos/old/a.jpg").touch()  # the same name from another folder gets a number
    jobs = plan(find_inputs(["photos/a.jpg", "photos/old/a.jpg"], Path("out")).photos, Path("out"), ["background"])
    assert [str(job.outputs["background"]) for job in jobs] == ["out/a.jpg", "out/a_2.jpg"]


def test_other_files_of_folders_are_passed_over_by_name(photos: Path) -> None:
    for name in ("b.gif", "old/c.GIF", "README"):
        (photos / "photos" / name).touch()
    (photos / "photos/out/x.gif").touch()
    inputs = find_inputs(["photos"], Path("photos/out"))
    assert [str(path) for path in inputs.passed_over] == [
        "photos/README",
        "photos/b.gif",
        "photos/notes.txt",
        "photos/old/c.GIF",
    ]
    assert listed(inputs.passed_over, 2) == "4 files (2 .gif, 1 without a suffix, 1 .txt): README, b.gif, ..."
    assert listed(inputs.passed_over[:1]) == "1 file (1 without a suffix): README"
    assert not find_inputs(["photos/*.jpg"], Path("photos/out")).passed_over


def test_nothing_is_found(photos: Path) -> None:
    for given, said in (("photos/*.webp", "matches no photos"), ("nothing", "is not a file or folder")):
        with pytest.raises(DataError, match=said):
            find_inputs([given], Path("out"))
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        find_inputs(["photos/a.jpg", "empty"], Path("out"))
    (photos / "empty/a.gif").touch()
    with pytest.raises(DataError, match=r"holds no photos .* It means 1 file \(1 .gif\): a.gif"):
        find_inputs(["empty"], Path("out"))


def test_only_leftovers_of_these_results_are_removed(photos: Path) -> None:
    output = photos / "results"
    (output / "old").mkdir(parents=True)
    leftovers = [output / ".a.jpg.123.tmp", output / "old/.b.PNG.4.tmp"]
    others = [output / ".z.jpg.123.tmp", output / ".tmp", output / "a.jpg.1.tmp", output / "old/.a.jpg.4.tmp"]
    for path in (*leftovers, *others):
        path.touch()
    Record(output, "settings").remove_leftovers(plan(find_inputs(["photos"], output).photos, output, ["background"]))
    assert not any(path.exists() for path in leftovers) and all(path.exists() for path in others)


class Killed(Exception):
    """Stands for what ends a process before the file that was noted gets its name."""


def write(record: Record, job: Job, killed: bool = False) -> None:
    """Writes a result as predict does."""
    path = job.outputs["background"]
    with write_atomically(path) as file:
        file.write(b"result")
        record.add(job, path, file)
        if killed:
            raise Killed


@pytest.fixture
def job(photos: Path) -> Job:
    return Job(photos / "photos/a.jpg", {"background": photos / "out/a.jpg"})


@pytest.mark.parametrize(
    "broken", [{"output_changed_ns": 1e308}, {"output_changed_ns": "later"}, {"output_bytes": None}, {"input": ["a"]}]
)
def test_a_broken_line_on_a_result_hides_no_good_one(photos: Path, job: Job, broken: dict[str, Any]) -> None:
    folder = photos / "out"
    folder.mkdir()
    write(Record(folder, "settings"), job)
    line = (folder / RECORD).read_text().strip()
    for text in (json.dumps(json.loads(line) | broken), line[:-9], "[]", '{"output": []}', "[" * 100_000):
        with (folder / RECORD).open("a") as file:
            file.write(f"{text}\n")
    record = Record(folder, "settings")
    record.refuse_foreign(job)
    assert record.done(job)


def test_a_result_stays_ours_where_its_replacement_was_noted_and_never_put_in_place(photos: Path, job: Job) -> None:
    folder = photos / "out"
    folder.mkdir()
    write(Record(folder, "old settings"), job)
    with pytest.raises(Killed):
        write(Record(folder, "settings"), job, killed=True)
    record = Record(folder, "settings")
    record.refuse_foreign(job)
    assert Record(folder, "old settings").done(job) and not record.done(job)
    job.outputs["background"].write_bytes(b"of someone else")
    with pytest.raises(DataError, match="overwrite=true"):
        Record(folder, "settings").refuse_foreign(job)
