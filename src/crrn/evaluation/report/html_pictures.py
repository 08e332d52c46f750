"""The report's pictures in HTML: each is embedded once, and shown as a whole and as close-ups by reference."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from crrn.evaluation.report.pictures import SHOWN_METRICS, Cell, Panel, jpeg, score_name, score_text

if TYPE_CHECKING:
    from crrn.evaluation.report.content import Content


def how_chosen(panel: Panel) -> str:
    """What a reader must know of a benchmark's pictures."""
    if panel.truth:
        return (
            f"Worst, median and best cases by what {panel.ranked_by} gains over the identity, protocol "
            f"{panel.protocol}. The red close-up is where the reflection is strongest, the blue one where the removers "
            "differ most."
        )
    return (
        f"No ground truth: chosen by how much {panel.ranked_by} changes the photo. Close-ups are where the removers "
        "differ most."
    )


def panel_figure(number: int, panel: Panel) -> str:
    """One case: each picture with its close-ups and scores."""
    kind = f'<span class="tag">{panel.kind}</span>' if panel.kind else ""
    cells = "".join(_cell(f"p{number}-{place}", cell, panel) for place, cell in enumerate(panel.cells))
    return (
        f'<div class="panel"><p>{kind}{escape(panel.case)}</p>'
        f'<div class="cells" style="--columns:{len(panel.cells)}">{cells}</div></div>'
    )


def _cell(key: str, cell: Cell, panel: Panel) -> str:
    height, width = cell.photo.shape[:2]
    frames = "".join(
        f'<rect class="frame f{place}" x="{left}" y="{top}" width="{side}" height="{side}"/>'
        for place, (top, left, side) in enumerate(panel.regions)
    )
    close = "".join(
        f'<svg class="f{place}" viewBox="{region.left} {region.top} {region.side} {region.side}" role="img" '
        f'aria-label="{escape(cell.label)}, close-up {place + 1}"><use href="#{key}"/></svg>'
        for place, region in enumerate(panel.regions)
    )
    scores = "".join(
        f"<span{' class=best' if cell.scores[metric] == panel.best(metric) else ''}>"
        f"{score_name(metric)} {score_text(metric, cell.scores[metric])}</span>"
        for metric in SHOWN_METRICS
        if metric in cell.scores
    )
    return (
        f'<figure class="cell"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(panel.case)}, {escape(cell.label)}"><use href="#{key}"/>{frames}</svg>'
        + (f'<div class="close">{close}</div>' if close else "")
        + f"<figcaption><b>{escape(cell.label)}</b>{scores}</figcaption></figure>"
    )


def comparison(content: Content) -> str:
    """Mixture and last remover of the best case, with an edge that the reader moves."""
    chosen = [n for n, panel in enumerate(content.panels) if panel.kind == "best"] or list(range(len(content.panels)))
    if not chosen:
        return ""
    panel = content.panels[chosen[0]]
    removers = range(1, len(panel.cells) - panel.truth)
    if not removers:
        return ""
    height, width = panel.cells[0].photo.shape[:2]
    before, after = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(panel.cells[n].label)}">'
        f'<use href="#p{chosen[0]}-{n}"/></svg>'
        for n in (0, removers[-1])
    )
    label = escape(panel.cells[removers[-1]].label)
    return (
        f'<div class="hero"><div class="compare">{after}<div class="over">{before}</div><div class="edge"></div>'
        f'<span class="name left">mixture</span><span class="name right">{label}</span>'
        f'<input type="range" min="0" max="100" value="50" step="0.5" aria-label="between mixture and {label}"></div>'
        f'<p class="muted">{escape(panel.benchmark)}, {escape(panel.case)}: drag to compare.</p></div>'
    )


def definitions(content: Content) -> str:
    """Every picture once; the page shows it as a whole and as close-ups by reference."""
    images = "".join(
        f'<image id="p{number}-{place}" width="{cell.photo.shape[1]}" height="{cell.photo.shape[0]}" '
        f'href="{data_uri(jpeg(cell.photo, content.quality))}"/>'
        for number, panel in enumerate(content.panels)
        for place, cell in enumerate(panel.cells)
    )
    style = "position:absolute;width:0;height:0;overflow:hidden"
    return f'<svg style="{style}" aria-hidden="true"><defs>{images}</defs></svg>' if images else ""


def data_uri(encoded: bytes) -> str:
    """A JPEG inside a page."""
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()
