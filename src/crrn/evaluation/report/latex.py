"""Tables for LaTeX, with booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crrn.evaluation.tables import Grid

CHARACTERS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "×": r"$\times$",
    "≥": r"$\ge$",
}


def latex(grids: Sequence[Grid]) -> str:
    """A file to \\input: one table environment a grid, captions above, notes below; needs \\usepackage{booktabs}."""
    return "% needs \\usepackage{booktabs}\n\n" + "\n".join(table(grid) for grid in grids)


def table(grid: Grid) -> str:
    """One table; its label is ``tab:`` and the title's words."""
    label = re.sub(r"[^a-z0-9]+", "-", grid.title.lower()).strip("-")
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(grid.title)}}}",
        rf"  \label{{tab:{label}}}",
        rf"  \begin{{tabular}}{{{''.join('r' if number else 'l' for number in grid.numeric())}}}",
        r"    \toprule",
        f"    {' & '.join(map(escape, grid.head))} \\\\",
        r"    \midrule",
    ]
    for y, row in enumerate(grid.rows):
        cells = [rf"\textbf{{{escape(cell)}}}" if (y, x) in grid.best else escape(cell) for x, cell in enumerate(row)]
        lines.append(f"    {' & '.join(cells)} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    if grid.notes:
        lines.append(rf"  \par\smallskip\footnotesize {escape(' '.join(grid.notes))}")
    return "\n".join([*lines, r"\end{table}", ""])


def escape(text: str) -> str:
    """Text as LaTeX reads it; a minus before a digit is a real minus, and a cell may begin with a bracket."""
    escaped = "".join(CHARACTERS.get(letter, letter) for letter in text)
    escaped = re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped)
    return re.sub(r"^\[", "{[}", escaped)
