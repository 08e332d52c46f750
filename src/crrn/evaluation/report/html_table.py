"""A grid as an HTML table."""

from __future__ import annotations

from html import escape

from crrn.evaluation.tables import Grid


def table(grid: Grid, title: str | None = None) -> str:
    """A grid under its title, or another one; "" for none. Numbers are aligned right, the paper's rows grey."""
    numeric = grid.numeric()
    head = "".join(
        f'<th scope="col"{" class=num" if numeric[x] else ""}>{breakable(text)}</th>'
        for x, text in enumerate(grid.head)
    )
    body = []
    for y, row in enumerate(grid.rows):
        cells = "".join(
            f"<td{_classes(numeric[x], (y, x) in grid.best)}>{_number(cell) if numeric[x] else escape(cell)}</td>"
            for x, cell in enumerate(row[1:], start=1)
        )
        reference = ' class="reference"' if row[0].endswith(", paper") else ""
        body.append(f'<tr{reference}><th scope="row">{breakable(row[0])}</th>{cells}</tr>')
    heading = grid.title if title is None else title
    notes = "".join(f"<li>{escape(note)}</li>" for note in grid.notes)
    return (
        (f"<h4>{escape(heading)}</h4>" if heading else "")
        + f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def _classes(numeric: bool, best: bool) -> str:
    return f' class="{"num" if numeric else "text"}{" best" if best else ""}"'


def _number(cell: str) -> str:
    mean, _, half = escape(cell).replace("-", "−").partition(" ± ")
    return f'{mean} <span class="pm">± {half}</span>' if half else mean


def breakable(text: str) -> str:
    """Text that may be broken behind an underscore, as the names of runs and benchmarks are long."""
    return escape(text).replace("_", "_<wbr>")
