"""Tables as text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from crrn.evaluation.gain_grid import gain_grid
from crrn.evaluation.marks import best_cells, unmarked
from crrn.evaluation.store import Row
from crrn.evaluation.summary import Table, differing
from crrn.evaluation.tables import Grid, notes
from crrn.metrics import PROTOCOLS


def test_columns_of_numbers_are_aligned_right() -> None:
    rows = [
        ["a", "0.81 ± 0.02", "[-0.1, +0.2]", "< 0.001", "12", "ab3", "–"],
        ["1", "–", "", "0.01", "1,000", "2", "−3.5"],
    ]
    grid = Grid("title", list("abcdefg"), rows)
    assert grid.numeric() == [False, True, True, True, True, False, True]
    assert "|---|---:|---:|---:|---:|---|---:|" in grid.markdown().splitlines()


def result_and_record(skipped: dict[str, int], problems: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `notes` reads, of one remover under the protocol windowseat."""
    result = {
        "benchmark": "mine",
        "protocol": "windowseat",
        "recipe": "0",
        "fingerprint": "f",
        "masks": "from a folder",
        "own": {},
        "differing": [],
        "removers": {
            "tool": {
                "metrics": {metric: {"skipped": count} for metric, count in skipped.items()},
                "problems": {str(n): "torn" for n in range(problems)},
            }
        },
    }
    protocol = {"recipe": PROTOCOLS["windowseat"].recipe(), "describe": "as it is"}
    record = {
        "benchmarks": {"mine": {"images": 9, "scenes": 9, "subsets": {"mine": 9}, "problems": []}},
        "protocols": {"windowseat": protocol},
        "perceptual": [],
    }
    return result, record


def test_notes_count_what_is_in_no_mean() -> None:
    said = notes(*result_and_record({"psnr": 0, "ncc": 2, "ssim_r": 1}, problems=1))
    for words in ("SSIMr and SIr: 1.", "NCC.* 2.", r"tool: 1 image .*\(torn\)", "LPIPS "):
        assert any(re.search(words, line) for line in said), words
    assert not any("PSNR" in line for line in said)


def test_notes_do_not_miss_weights_that_were_given() -> None:
    result, record = result_and_record({"psnr": 0})
    assert not any("weights" in line for line in notes(result, {**record, "perceptual": ["lpips"]}))


def test_notes_tell_a_set_without_ground_truth_from_one_where_nothing_could_be_evaluated() -> None:
    assert any("No ground truth" in line for line in notes(*result_and_record({"change": 0})))
    assert not any("No ground truth" in line for line in notes(*result_and_record({}, problems=9)))


def test_notes_say_that_intervals_are_of_scenes() -> None:
    result, record = result_and_record({"psnr": 0})
    assert not any("scene" in line for line in notes(result, record))
    record["benchmarks"]["mine"]["scenes"] = 4
    assert any(line.startswith("4 scenes: ") for line in notes(result, record))


def measured(label: str, images: Sequence[str], psnr: float) -> Table:
    """A remover's table, of one value on each of its images."""
    rows = {image: Row(image, "", values={"psnr": psnr, "gain_psnr": psnr - 20}) for image in images}
    return Table(label, rows, {})


def result_of(*tables: Table) -> dict[str, Any]:
    """What `best_cells` and `gain_grid` read."""
    entries = {
        table.label: {
            "images": len(table.rows),
            "metrics": {
                metric: {"mean": np.mean([*table.values(metric).values()]), "low": math.nan, "high": math.nan}
                for metric in ("psnr", "gain_psnr")
            },
        }
        for table in tables
    }
    return {"benchmark": "mine", "protocol": "native", "own": {}, "removers": entries, "differing": differing(tables)}


def test_a_best_value_is_marked_among_methods_on_the_same_images_alone() -> None:
    same = result_of(measured("a", "xyz", 21), measured("b", "xyz", 23))
    assert best_cells(same, ["psnr", "gain_psnr"], 1) == {(1, 1), (1, 2)} and not unmarked(same, ["psnr"])
    other = result_of(measured("a", "xyz", 21), measured("b", "xy", 23))
    assert best_cells(other, ["psnr", "gain_psnr"], 1) == set()
    assert "PSNR" in unmarked(other, ["psnr"])[0]


def test_a_method_without_a_metric_does_not_keep_others_from_being_best() -> None:
    tables = [measured("a", "xyz", 21), measured("b", "xyz", 23), measured("c", "xyz", 25)]
    for row in tables[2].rows.values():
        row.values["psnr"] = math.nan
    assert differing(tables) == []


def test_gains_have_a_table_of_their_own_with_signs() -> None:
    grid = gain_grid(result_of(measured("a", "xyz", 19.5), measured("b", "xyz", 23)))
    assert grid is not None and grid.rows == [["a", "-0.50", "3"], ["b", "+3.00", "3"]]
    assert grid.best == {(1, 1)} and grid.numeric() == [False, True, True]
    empty = result_of(measured("a", "xyz", 19.5))
    del empty["removers"]["a"]["metrics"]["gain_psnr"]
    assert gain_grid(empty) is None
