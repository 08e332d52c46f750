"""The results of an evaluation on screen and as summary.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from crrn.evaluation.gain_grid import gain_grid
from crrn.evaluation.tables import Grid, markdown, pair_grid, part_grid, result_grid
from crrn.files import write_atomically
from crrn.screen import console


def grids(summary: Mapping[str, Any]) -> list[Grid]:
    """All tables of an evaluation: results, subsets, categories, paired differences."""
    found: list[Grid | None] = []
    for result in summary["results"]:
        found += [
            result_grid(result, summary["evaluation"]),
            gain_grid(result),
            part_grid(result, "subsets"),
            part_grid(result, "categories"),
            pair_grid(result),
        ]
    return [grid for grid in found if grid is not None]


def show(folder: Path, summary: Mapping[str, Any]) -> None:
    """Prints results and gains, and writes summary.md with all tables."""
    with write_atomically(folder / "summary.md", "w") as file:
        file.write(f"# {folder.name}\n\n{markdown(grids(summary))}")
    screen = console()
    for result in summary["results"]:
        for grid in (result_grid(result, summary["evaluation"]), gain_grid(result)):
            if grid is not None:
                screen.print(as_table(grid))
    places = {"Per image": "images", "All tables": "summary.md", "Worst, median and best cases": "cases"}
    found = (f"{what}: {folder / name}" for what, name in places.items() if (folder / name).exists())
    screen.print("   ".join(found))


def as_table(grid: Grid) -> Table:
    """A grid as rich prints it."""
    table = Table(title=grid.title, caption=" ".join(grid.notes), caption_justify="left", title_justify="left")
    for number, label in enumerate(grid.head):
        table.add_column(label, justify="right" if number else "left")
    for y, row in enumerate(grid.rows):
        table.add_row(*(Text(cell, "bold" if (y, x) in grid.best else "") for x, cell in enumerate(row)))
    return table
