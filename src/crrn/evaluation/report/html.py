"""The report as one page that needs nothing else: pictures embedded, no request to anywhere, readable without
JavaScript."""

from __future__ import annotations

from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from crrn.evaluation.report.html_pictures import comparison, data_uri, definitions, how_chosen, panel_figure
from crrn.evaluation.report.html_table import table
from crrn.evaluation.report.pictures import jpeg, reduced
from crrn.evaluation.report.sources import Trained
from crrn.evaluation.tables import Grid

if TYPE_CHECKING:
    from crrn.evaluation.report.content import Content

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
TRAINING_PANEL_WIDTH = 1000
WITHOUT_TRUTH_NOTE = (
    "Change is the mean |B − I|, Residual the mean |I − B − R| of removers that estimate R. Neither is a quality: "
    "without a ground truth only the pictures below can be judged."
)
FOOTER = (
    "The same numbers are in <code>tables.md</code>, <code>tables.tex</code> and <code>metrics.json</code> beside this "
    "page."
)


def page(content: Content) -> str:
    """The whole document."""
    sections = [
        ("glance", "At a glance", _glance(content)),
        ("paper", "Beside the paper", _paper(content)),
        ("pictures", "Pictures", _pictures(content)),
        ("training", "Training", _training(content)),
        ("numbers", "All numbers", _numbers(content)),
        ("made", "How it was made", _made(content)),
    ]
    sections = [section for section in sections if section[2]]
    body = [
        definitions(content),
        '<header class="page">',
        f'<div class="{"top two" if content.panels else "top"}"><div>',
        f'<p class="eyebrow">Reflection removal · {escape(content.name)}</p>',
        f"<h1>{escape(content.question)}</h1>",
        *(f'<p class="lead">{escape(part)}</p>' for part in content.answer.split("\n") if part.strip()),
        _facts(content),
        f"</div>{comparison(content)}</div>",
        "<nav>" + "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections) + "</nav>",
        "</header>",
        "<main>",
        *(f'<section id="{key}"><h2>{title}</h2>{inside}</section>' for key, title, inside in sections),
        "</main>",
        f"<footer>{FOOTER}</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(content.name)}: {escape(content.question)}</title>\n<style>\n{_asset('report.css')}</style>\n"
        "</head>\n<body>\n" + "\n".join(part for part in body if part) + f"\n<script>\n{_asset('report.js')}</script>\n"
        "</body>\n</html>\n"
    )


def _glance(content: Content) -> str:
    parts = []
    for evaluated in content.evaluations:
        for benchmark in evaluated.record["benchmarks"]:
            key = (evaluated.name, benchmark)
            heading = content.heading(evaluated.name, benchmark)
            facts = evaluated.record["benchmarks"][benchmark]
            truth = "" if facts["layers"]["background"] else ", without ground truth"
            parts.append(f'<h3>{escape(heading)} <span class="muted">{facts["images"]} images{truth}</span></h3>')
            parts.append('<div class="side">' + "".join(map(_half, content.overviews[key])) + "</div>")
            if not truth:
                parts.append('<div class="charts wide">' + "".join(content.gains[key]) + "</div>")
            else:
                parts.append(f'<p class="notes">{WITHOUT_TRUTH_NOTE}</p>')
    if parts:
        parts.insert(
            0,
            "<p>The same methods on the same images, measured by several protocols. Each row is a protocol: compare "
            "numbers only within a row. The identity returns its input.</p>",
        )
    return "".join(parts)


def _half(grid: Grid) -> str:
    return f"<div>{table(grid, grid.title.split(': ')[-1])}</div>"


def _paper(content: Content) -> str:
    return "".join(table(grid) for grid in content.paper)


def _pictures(content: Content) -> str:
    parts = []
    for number, panel in enumerate(content.panels):
        if not number or content.panels[number - 1].benchmark != panel.benchmark:
            parts.append(f"<h3>{escape(panel.benchmark)}</h3>")
            parts.append(f"<p>{escape(how_chosen(panel))}</p>")
        parts.append(panel_figure(number, panel))
    return "".join(parts)


def _training(content: Content) -> str:
    parts = [table(content.runs_grid)] if content.runs_grid else []
    for stage, charts in content.curves.items():
        parts.append(f"<h3>Stage {escape(stage)}</h3>")
        parts.append('<div class="charts">' + "".join(charts) + "</div>")
    for run in content.runs:
        parts += [_training_panel(run, stage, content.quality) for stage in run.panels if stage == [*run.panels][-1]]
    return "".join(parts)


def _training_panel(run: Trained, stage: str, quality: int) -> str:
    source = data_uri(jpeg(reduced(run.panels[stage], TRAINING_PANEL_WIDTH), quality))
    text = f"{run.name}, stage {stage}: the first validation mixtures after its last epoch."
    return (
        f'<figure class="sheet"><div class="scroll"><img src="{source}" alt="{escape(text)}"></div>'
        f"<figcaption>{escape(text)} est. are estimates; dB is the gradient of B.</figcaption></figure>"
    )


def _numbers(content: Content) -> str:
    parts = []
    for evaluated in content.evaluations:
        for result in evaluated.results:
            main, *others = content.grids_of(evaluated, result)
            parts.append(table(main))
            parts += [_folded(grid, grid.title.split(": ")[-1].capitalize()) for grid in others]
    return "".join(parts)


def _made(content: Content) -> str:
    parts = ["<h3>Commands</h3>", *(f"<pre>{escape(command)}</pre>" for command in content.commands)]
    parts += [table(grid) for grid in content.facts]
    return "".join(parts)


def _facts(content: Content) -> str:
    removers = {label for e in content.evaluations for label in e.record["removers"]}
    sets = {(n, f["fingerprint"]): f["images"] for e in content.evaluations for n, f in e.record["benchmarks"].items()}
    protocols = {name for e in content.evaluations for name in e.record["protocols"]}
    facts = [
        (len(removers), "removers, the identity among them" if content.evaluations else ""),
        (sum(sets.values()), "images: " + ", ".join(f"{name} {count}" for (name, _), count in sets.items())),
        (len(protocols), "protocols: " + ", ".join(sorted(protocols))),
        (len(content.runs), "training runs" if len(content.runs) > 1 else "training run"),
    ]
    return (
        '<div class="facts">'
        + "".join(f"<div><b>{number}</b><span>{escape(text)}</span></div>" for number, text in facts if number)
        + "</div>"
    )


def _folded(grid: Grid, title: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{table(grid, '')}</details>"


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
