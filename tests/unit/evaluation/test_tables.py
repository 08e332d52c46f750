"""Tables as text."""

from __future__ import annotations

from typing import Any

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
        "removers": {
            "tool": {
                "metrics": {metric: {"skipped": count} for metric, count in skipped.items()},
                "problems": {str(n): "torn" for n in range(problems)},
            }
        },
    }
    protocol = {"recipe": PROTOCOLS["windowseat"].recipe(), "describe": "as it is"}
    record = {
        "benchmarks": {"mine": {"images": 9, "subsets": {"mine": 9}, "problems": []}},
        "protocols": {"windowseat": protocol},
        "perceptual": [],
    }
    return result, record


def test_notes_count_what_is_in_no_mean() -> None:
    said = notes(*result_and_record({"psnr": 0, "ncc": 2, "ssim_r": 1}, problems=1))
    assert "Images without a reflection-dominant region, left out of SSIMr and SIr: 1." in said
    assert "Images that are flat or too small for NCC, left out of its mean: 2." in said
    assert "tool: 1 image could not be evaluated, left out of all means." in said
    assert "LPIPS left out: no backbone weights were given." in said
    assert not any("PSNR" in line for line in said)


def test_notes_do_not_miss_weights_that_were_given() -> None:
    result, record = result_and_record({"psnr": 0})
    assert not any("weights" in line for line in notes(result, {**record, "perceptual": ["lpips"]}))


def test_notes_tell_a_set_without_ground_truth_from_one_where_nothing_could_be_evaluated() -> None:
    assert any("No ground truth" in line for line in notes(*result_and_record({"change": 0})))
    assert not any("No ground truth" in line for line in notes(*result_and_record({}, problems=9)))
