"""The report's README.md: the question, the main tables, a picture, the commands."""

from __future__ import annotations

from crrn.evaluation.report.content import Content

REST = (
    "[report.html](report.html) is the whole report as one page, with each image's gain, close-ups, training curves; "
    "[tables.md](tables.md) and [tables.tex](tables.tex) hold all tables, with intervals and paired tests; "
    "[metrics.json](metrics.json) has the numbers."
)


def readme(content: Content, pictures: dict[str, str]) -> str:
    """The README of the report's folder, in Markdown.

    Args:
        pictures: file by benchmark.
    """
    parts = [f"# {content.question}", content.answer]
    if content.evaluations:
        parts.append(
            "The same methods on the same images, measured by several protocols. Each row is a protocol: compare "
            "numbers only within a row. The identity returns its input."
        )
    parts += [grid.markdown() for many in content.overviews.values() for grid in many]
    parts += [f"![Worst, median and best cases of {benchmark}]({file})" for benchmark, file in pictures.items()]
    parts += [grid.markdown() for grid in content.paper]
    if content.runs_grid:
        parts.append(content.runs_grid.markdown())
    parts += [
        REST,
        "## How it was made",
        "```sh\n" + "\n".join(content.commands) + "\n```",
        *(grid.markdown() for grid in content.facts),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def tables(content: Content) -> str:
    """All tables as Markdown."""
    return f"# {content.question}: all tables\n\n" + "\n".join(grid.markdown() for grid in content.all_grids())
