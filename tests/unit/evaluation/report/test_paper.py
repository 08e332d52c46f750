"""The paper's tables: when a difference is given, and that it is the right one."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crrn.errors import ConfigError
from crrn.evaluation.report.content import Content, gather

ROWS = {
    "identity": "identity",
    "lb14": "lb14",
    "ws16": {"name": "ws16", "solver": "x"},
    "ours": "runs/ours",
    "l1": "runs/l1",
}


def wild_mean(folder: Path, remover: str, metric: str) -> float:
    with (folder / f"images/sir2/native/{remover}.csv").open(newline="") as file:
        return float(np.mean([float(row[metric]) for row in csv.DictReader(file) if row["subset"] == "wildscene"]))


def differences(content: Content, metric: str) -> dict[tuple[str, str, str], float]:
    return {(v["table"], v["row"], v["remover"]): v[metric]["difference"] for v in content.paper_values}


def test_on_the_wild_scenes_the_difference_is_ours_minus_the_paper(make_evaluation: Callable[..., Path]) -> None:
    folder = make_evaluation(masks=True, removers={"identity": "identity", "lb14": "lb14", "nr17": "nr17"})
    found = differences(gather("x", [folder], []), "ssim_r")
    assert found == {
        ("Table 1", "LB14", "lb14"): pytest.approx(wild_mean(folder, "lb14", "ssim_r") - 0.801),
        ("Table 1", "NR17", "nr17"): pytest.approx(wild_mean(folder, "nr17", "ssim_r") - 0.850),
    }
    grid = gather("x", [folder], []).paper[0]
    row = next(row for row in grid.rows if row[0] == "difference, here − paper")
    assert row[1] == f"{wild_mean(folder, 'nr17', 'ssim') - 0.884:+.3f}"
    assert any(re.search("100 wild scenes.* 3", note) for note in grid.notes)


def test_derived_masks_have_no_difference(make_evaluation: Callable[..., Path]) -> None:
    content = gather("x", [make_evaluation()], [])
    assert np.isnan(differences(content, "ssim_r")["Table 1", "LB14", "lb14"])
    assert np.isfinite(differences(content, "ssim")["Table 1", "LB14", "lb14"])
    assert any("masks" in note for note in content.paper[0].notes)


def test_another_benchmark_has_no_difference_and_says_so(make_evaluation: Callable[..., Path]) -> None:
    content = gather("x", [make_evaluation(benchmark="real20", subsets=["real20"])], [])
    assert np.isnan(list(differences(content, "ssim").values())).all()
    grid = content.paper[0]
    assert "would mean nothing" in " ".join(grid.notes) and not any("difference" in row[0] for row in grid.rows)


def test_only_protocols_with_the_papers_measure_are_compared(make_evaluation: Callable[..., Path]) -> None:
    assert gather("x", [make_evaluation(protocols=["errnet", "floor32"])], []).paper == []


def test_runs_find_their_rows_by_their_ablation(
    make_evaluation: Callable[..., Path],
    make_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run("ours")
    full = gather("x", [make_evaluation("full")], ["runs/ours"])
    assert {key[:2] for key in differences(full, "ssim")} == {("Table 1", "LB14"), ("Table 1", "CRRN")}
    assert any(note.startswith("ours: CRRN (") for note in full.paper[0].notes)

    make_run("l1", "l1_only")
    content = gather("x", [make_evaluation("ablated", removers=ROWS)], [])
    assert set(differences(content, "ssim")) == {
        ("Table 1", "LB14", "lb14"),
        ("Table 1", "WS16", "ws16"),
        ("Table 1", "CRRN", "ours"),
        ("Table 2", "IiN in CRRN", "ours"),
        ("Table 2", "IiN in CRRN (L1)", "l1"),
    }


def test_the_user_may_say_which_row(make_evaluation: Callable[..., Path]) -> None:
    folder = make_evaluation()
    found = differences(gather("x", [folder], [], paper={"ours": "FY17"}), "ssim")
    assert found["Table 1", "FY17", "ours"] == pytest.approx(wild_mean(folder, "ours", "ssim") - 0.867)
    for paper, says in (({"theirs": "FY17"}, "theirs"), ({"ours": "FY18"}, "FY18")):
        with pytest.raises(ConfigError, match=says):
            gather("x", [folder], [], paper=paper)
