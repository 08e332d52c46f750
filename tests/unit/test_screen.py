"""Names are printed as they are, whatever they hold: rich would read "[red]" as markup and ":bug:" as a picture."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.progress import Progress, TextColumn
from rich.text import Text

from crrn.bench.report import screen as show_bench
from crrn.cli.prepare import show as show_prepared
from crrn.cli.prepare import verdict_table
from crrn.cli.progress import ProgressDisplay
from crrn.cli.sweeps import show_table
from crrn.data.preparation.rid import KEPT, Verdict
from crrn.evaluation import show as evaluation
from crrn.evaluation.tables import Grid
from crrn.training.summary import write_summary
from crrn.training.terminal import ProgressBar

NAMES = ("photo [red]1[/red].jpg", "[/] gone", "\\[bold]", "a:bug:b", "[link=x]y")


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, without the lines of tables and the breaks within cells."""
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", NAMES)
def test_tables_of_an_evaluation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = Grid(f"1{name}", ["", f"2{name}"], [[f"3{name}", f"4{name}"], ["x", "y"]], {(0, 1)}, [f"5{name}"])
    monkeypatch.setattr(evaluation, "result_grid", lambda result, record: grid)
    monkeypatch.setattr(evaluation, "gain_grid", lambda result: None)
    monkeypatch.setattr(evaluation, "grids", lambda summary: [grid])
    evaluation.show(tmp_path / f"6{name}", {"results": [{}], "evaluation": {}})
    out = printed(capsys)
    assert all(f"{number}{name}" in out for number in range(1, 7)), out


@pytest.mark.parametrize("name", NAMES)
def test_the_other_tables(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_bench(f"1{name}", ["", f"2{name}"], [[f"3{name}", "reached"]])
    show_prepared([verdict_table(f"4{name}", [Verdict(f"5{name}", KEPT[0], f"6{name}")])], f"7{name}")
    record: dict[str, Any] = {"job": 0, "status": "failed", "metrics": {}, "seconds": 1.0, "error": f"8{name}"}
    show_table([record | {"overrides": {"net": value}} for value in (f"9{name}", "other")], tmp_path / f"10{name}")
    (tmp_path / f"11{name}").mkdir(parents=True)
    metrics = {f"val/background_{metric}": 0.5 for metric in ("ssim", "si", "psnr")}
    write_summary(SimpleNamespace(path=tmp_path / f"11{name}"), metrics, f"12{name}")  # type: ignore[arg-type]
    out = printed(capsys)
    assert all(f"{number}{name}" in out for number in range(1, 13)), out


@pytest.mark.parametrize("name", NAMES)
def test_bars(name: str) -> None:
    with ProgressDisplay() as progress:
        progress(name, 0, 1)
        assert str(progress.bars.columns[0](progress.bars.tasks[0])) == name
    bar = ProgressBar()
    bar.progress = Progress(TextColumn("{task.description}"))  # type: ignore[assignment]
    bar.train_progress_bar_id = bar.progress.add_task("")
    trainer, stage = SimpleNamespace(current_epoch=0, max_epochs=3), SimpleNamespace(name=name)
    bar.name_stage(trainer, stage)  # type: ignore[arg-type]
    assert Text.from_markup(bar.progress.tasks[0].description, emoji=False).plain == f"{name} 1/3"
