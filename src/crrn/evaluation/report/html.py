"""The report as one page that needs nothing else: pictures embedded, no request to anywhere, readable without
JavaScript.

The Jinja templates in ``templates/`` write it. They escape all that they insert; only charts, which escape their own
labels, are inserted as they are.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from crrn.evaluation.labels import without_unit
from crrn.evaluation.report.pictures import SHOWN_METRICS, Panel, jpeg, reduced, score_text
from crrn.image.picture import Pixels

if TYPE_CHECKING:
    from crrn.evaluation.report.content import Content

TRAINING_PANEL_WIDTH = 1000


def page(content: Content) -> str:
    """The whole document."""
    environment = Environment(
        loader=PackageLoader("crrn.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"breakable": breakable, "short": short}
    environment.globals |= {
        "how_chosen": how_chosen,
        "score_name": without_unit,
        "score_text": score_text,
        "SHOWN_METRICS": SHOWN_METRICS,
    }
    return environment.get_template("report.html").render(
        content=content,
        compared=compared(content),
        facts=facts(content),
        source=lambda photo: data_uri(photo, content.quality),
        reduced=lambda photo: reduced(photo, TRAINING_PANEL_WIDTH),
    )


def facts(content: Content) -> list[tuple[int, str]]:
    """What stands in numbers at the head of the page; none that is zero."""
    removers = {label for e in content.evaluations for label in e.record["removers"]}
    sets = {(n, f["fingerprint"]): f["images"] for e in content.evaluations for n, f in e.record["benchmarks"].items()}
    protocols = {name for e in content.evaluations for name in e.record["protocols"]}
    found = [
        (len(removers), "removers, the identity among them"),
        (sum(sets.values()), "images: " + ", ".join(f"{name} {count}" for (name, _), count in sets.items())),
        (len(protocols), "protocols: " + ", ".join(sorted(protocols))),
        (len(content.runs), "training runs" if len(content.runs) > 1 else "training run"),
    ]
    return [fact for fact in found if fact[0]]


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


def compared(content: Content) -> tuple[int, int] | None:
    """The case that the page begins with, the first of the best ones, and its last remover; None where nothing was
    removed."""
    best = [n for n, panel in enumerate(content.panels) if panel.kind == "best"] or list(range(len(content.panels)))
    if not best:
        return None
    panel = content.panels[best[0]]
    last = len(panel.cells) - panel.truth - 1
    return (best[0], last) if last else None


def data_uri(photo: Pixels, quality: int) -> str:
    """A photo as a JPEG inside the page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(photo, quality)).decode()


def breakable(text: str) -> Markup:
    """Text that may be broken behind an underscore, as the names of runs and benchmarks are long."""
    return Markup("_<wbr>").join(text.split("_"))


def short(title: str) -> str:
    """A table's title without the benchmark that it begins with."""
    return title.split(": ")[-1]
