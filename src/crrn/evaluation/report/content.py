"""All that a report says, before it is written in any form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crrn.errors import ConfigError
from crrn.evaluation.gain_grid import gain_grid
from crrn.evaluation.report import grids
from crrn.evaluation.report.figures import gain_charts, others, training_charts
from crrn.evaluation.report.paper import beside, check_rows
from crrn.evaluation.report.pictures import Panel, read_panels
from crrn.evaluation.report.sources import Evaluated, Trained, commands, read_evaluation, read_run
from crrn.evaluation.tables import Grid, pair_grid, part_grid, result_grid


@dataclass(frozen=True)
class Content:
    """A report's matter.

    Attributes:
        name: of the report.
        question: what it answers, in the user's words; the name where none was given.
        answer: the user's finding; "" for none.
        command: the report's own.
        quality: of JPEG pictures, 1 to 95.
        evaluations, runs: what it is made from.
        overviews: by (evaluation, benchmark): protocols side by side.
        gains: by (evaluation, benchmark): charts, SVG.
        paper: the paper's tables with our numbers, and the same as plain values.
        panels: cases with pictures.
        runs_grid: the runs' table; None without runs.
        curves: by stage: charts, SVG.
        facts: protocols, benchmarks, environment.
        commands: all commands, in the order in which one would type them.
    """

    name: str
    question: str
    answer: str
    command: str
    quality: int
    evaluations: list[Evaluated]
    runs: list[Trained]
    overviews: dict[tuple[str, str], list[Grid]]
    gains: dict[tuple[str, str], list[str]]
    paper: list[Grid]
    paper_values: list[dict[str, Any]]
    panels: list[Panel]
    runs_grid: Grid | None
    curves: dict[str, list[str]]
    facts: list[Grid]
    commands: list[str]

    def heading(self, evaluation: str, benchmark: str) -> str:
        """What a benchmark is called: with the evaluation's name where several have it."""
        return heading(self.evaluations, evaluation, benchmark)

    def grids_of(self, evaluated: Evaluated, result: dict[str, Any]) -> list[Grid]:
        """The tables of one benchmark under one protocol, the main one first."""
        found = [
            result_grid(result, evaluated.record),
            gain_grid(result),
            part_grid(result, "subsets"),
            part_grid(result, "categories"),
            pair_grid(result),
        ]
        title = self.heading(evaluated.name, result["benchmark"])
        return [retitled(grid, result["benchmark"], title) for grid in found if grid is not None]

    def all_grids(self) -> list[Grid]:
        """Every table, in the order of the page."""
        found: list[Grid | None] = [grid for many in self.overviews.values() for grid in many]
        found += [*self.paper, self.runs_grid]
        found += [grid for one in self.evaluations for result in one.results for grid in self.grids_of(one, result)]
        return [grid for grid in [*found, *self.facts] if grid is not None]


def gather(
    name: str,
    evaluations: Sequence[Path | str],
    runs: Sequence[Path | str],
    *,
    question: str = "",
    answer: str = "",
    paper: Mapping[str, Any] | None = None,
    pictures: int = 3,
    quality: int = 80,
    command: str = "",
) -> Content:
    """Reads evaluations and runs; nothing in their folders is changed.

    Args:
        paper: remover -> row of the paper's tables, where `crrn.evaluation.report.paper.paper_rows` does not know it.
        pictures: cases with pictures of each benchmark.

    Raises:
        ConfigError: nothing to report, one thing twice, or a wrong setting.
        RunError: an evaluation or a run is missing or unfinished.
    """
    if not evaluations and not runs:
        raise ConfigError("There is nothing to report: give evaluations=[evaluations/NAME] or runs=[runs/NAME].")
    for key, folders in (("evaluations", evaluations), ("runs", runs)):
        names = [Path(folder).resolve().name for folder in folders]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"{key}: two of them are called {max(names, key=names.count)}; a report tells them apart by that name."
            )
    if not 1 <= quality <= 95:
        raise ConfigError(f"quality={quality}: JPEG takes 1 to 95.")
    evaluated = [read_evaluation(folder) for folder in evaluations]
    trained = [read_run(folder) for folder in runs]
    rows = check_rows(paper or {}, {label for one in evaluated for label in one.record["removers"]})
    paper_grids: list[Grid] = []
    paper_values: list[dict[str, Any]] = []
    for one in evaluated:
        for grid, values in beside(one, rows, about(one, trained)):
            benchmark = values[0]["benchmark"]
            retitled(grid, benchmark, heading(evaluated, one.name, benchmark))
            paper_grids.append(grid)
            paper_values += values
    places = [(one, benchmark) for one in evaluated for benchmark in one.record["benchmarks"]]
    facts = [grids.recipes(evaluated), grids.benchmarks(evaluated)] if evaluated else []
    made_by = [
        *(c for run in trained for c in commands(run.record)),
        *(c for e in evaluated for c in commands(e.record)),
    ]
    return Content(
        name=name,
        question=question or name,
        answer=answer,
        command=command,
        quality=quality,
        evaluations=evaluated,
        runs=trained,
        overviews={
            (one.name, benchmark): grids.overview(one, benchmark, heading(evaluated, one.name, benchmark))
            for one, benchmark in places
        },
        gains={(one.name, benchmark): gain_charts(one, benchmark) for one, benchmark in places},
        paper=paper_grids,
        paper_values=paper_values,
        panels=[
            replace(panel, benchmark=heading(evaluated, one.name, benchmark))
            for one, benchmark in places
            for panel in read_panels(one, benchmark, pictures)
        ],
        runs_grid=grids.runs_grid(trained),
        curves=training_charts(trained, colours(evaluated)),
        facts=[*facts, grids.environment(evaluated, trained)],
        commands=[*made_by, *([command] if command else [])],
    )


def heading(evaluations: Sequence[Evaluated], evaluation: str, benchmark: str) -> str:
    """What a benchmark is called: with the evaluation's name where several have it."""
    several = sum(benchmark in one.record["benchmarks"] for one in evaluations) > 1
    return f"{benchmark} in {evaluation}" if several else benchmark


def retitled(grid: Grid, benchmark: str, title: str) -> Grid:
    """The grid, whose title begins with the benchmark's name, with another in its place."""
    grid.title = title + grid.title.removeprefix(benchmark)
    return grid


def colours(evaluations: Sequence[Evaluated]) -> dict[str, int]:
    """The series colours of removers, that a run may have the same one in all charts."""
    found: dict[str, int] = {}
    for one in evaluations:
        for number, label in enumerate(others(one)):
            found.setdefault(label, number)
    return found


def about(evaluated: Evaluated, runs: Sequence[Trained]) -> dict[str, str]:
    """What the removers are that one of the runs trained, by label."""
    folders = {run.folder.resolve(): grids.describe_run(run) for run in runs}
    names = {label: Path(str(facts["name"])).resolve() for label, facts in evaluated.record["removers"].items()}
    return {label: folders[place] for label, place in names.items() if place in folders}
