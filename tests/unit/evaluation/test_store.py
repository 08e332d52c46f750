"""The per-image table survives what happens to long evaluations."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from crrn.errors import RunError
from crrn.evaluation.store import ImageScores, Row, write_parquet


def filled(path: Path) -> ImageScores:
    scores = ImageScores(path, ["psnr", "ssim_r"])
    scores.add(Row("a, b", "set", {"aperture": "11"}, 20, 30, 0.5, {"psnr": 1 / 3, "ssim_r": math.nan}))
    scores.add(Row("ü", "set", {}, 20, 30, 0.5, {"psnr": 20.0, "ssim_r": 0.5}))
    return scores


def test_rows_come_back_to_the_last_bit(tmp_path: Path) -> None:
    rows = list(filled(tmp_path / "scores.csv").rows())
    assert [row.image for row in rows] == ["a, b", "ü"] and rows[0].categories == {"aperture": "11"}
    assert rows[0].values["psnr"] == 1 / 3 and math.isnan(rows[0].values["ssim_r"])


def test_a_torn_last_row_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    filled(path)
    path.write_bytes(path.read_bytes()[:-9])
    again = ImageScores(path, ["psnr", "ssim_r"])
    assert again.done == {"a, b"} and [row.image for row in again.rows()] == ["a, b"]


def test_a_row_with_a_problem_is_tried_again(tmp_path: Path) -> None:
    scores = filled(tmp_path / "scores.csv")
    scores.add(Row("c", "set", problem="torn"))
    assert [row.problem for row in scores.rows()] == ["", "", "torn"]
    assert ImageScores(scores.path, scores.metrics).done == {"a, b", "ü"}


def test_reading_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    filled(path).add(Row("c", "set", problem="torn\nin two"))
    with path.open("a") as file:
        file.write("half a ro")
    before = path.read_bytes()
    assert [row.problem for row in ImageScores(path, ["psnr", "ssim_r"]).rows()] == ["", "", "torn in two"]
    assert path.read_bytes() == before


def test_a_problem_is_there_for_the_reader_until_its_image_is_tried_again(tmp_path: Path) -> None:
    scores = filled(tmp_path / "scores.csv")
    scores.add(Row("c", "set", problem="torn,\nin two lines"))
    before = scores.path.read_bytes()
    reader = ImageScores(scores.path, scores.metrics)
    assert [row.problem for row in reader.rows()] == ["", "", "torn, in two lines"]
    assert scores.path.read_bytes() == before
    again = ImageScores(scores.path, scores.metrics)
    again.add(Row("c", "set", values={"psnr": 9.0}))
    again.add(Row("d", "set", problem="torn too"))
    assert [(row.image, row.problem) for row in ImageScores(scores.path, scores.metrics).rows()] == [
        ("a, b", ""),
        ("ü", ""),
        ("c", ""),
        ("d", "torn too"),
    ]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    filled(tmp_path / "scores.csv")
    with pytest.raises(RunError, match="other columns"):
        _ = ImageScores(tmp_path / "scores.csv", ["psnr"]).done
    with pytest.raises(RunError, match="other columns"):
        list(ImageScores(tmp_path / "scores.csv", ["psnr"]).rows())


def test_parquet_holds_the_same_numbers(tmp_path: Path) -> None:
    write_parquet(filled(tmp_path / "scores.csv"))
    table = parquet.read_table(tmp_path / "scores.parquet").to_pydict()
    assert table["image"] == ["a, b", "ü"] and table["psnr"] == [1 / 3, 20.0] and table["ssim_r"] == [None, 0.5]
