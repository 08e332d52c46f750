"""Pictures of worst, median and best cases: each remover's background beside the mixture and the truth, with
close-ups."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crrn.data.photos import read_image
from crrn.errors import RunError
from crrn.evaluation.labels import digits
from crrn.evaluation.methods import file_name
from crrn.evaluation.report.regions import Region, close_ups
from crrn.evaluation.report.sources import Evaluated
from crrn.image.picture import Pixels
from crrn.metrics.protocols import LOWER_IS_BETTER
from crrn.records import read_json

KINDS = ("worst", "median", "best")
KINDS_OF_CHANGE = {"worst": "least changed", "median": "median change", "best": "most changed"}
"""The same where there is no ground truth to rank by."""
CASE = {"case": str, "kind": str, "protocol": str, "scores": {str: {str: float}}}
"""An entry of cases.json."""
SHOWN_METRICS = ("psnr", "ssim")
COLOURS = ("#e5484d", "#3b82f6")
"""Of the close-ups' frames, in their order."""


@dataclass(frozen=True)
class Cell:
    """One picture of a case.

    Attributes:
        label: the remover's, "mixture" or "ground truth".
        scores: by metric; empty for what is not scored.
        photo: uint8 (H, W, 3).
    """

    label: str
    scores: Mapping[str, float]
    photo: Pixels


@dataclass(frozen=True)
class Panel:
    """One case.

    Attributes:
        benchmark, case: what it shows.
        kind: of `KINDS`, or of `KINDS_OF_CHANGE`.
        protocol: at whose size, and by whose numbers.
        ranked_by: the remover by whose gain, or change, the cases were chosen.
        cells: the mixture first, then each remover, then the ground truth if there is one.
        regions: the close-ups.
    """

    benchmark: str
    case: str
    kind: str
    protocol: str
    ranked_by: str
    cells: list[Cell]
    regions: list[Region]

    @property
    def truth(self) -> bool:
        """Whether the last cell is the ground truth."""
        return self.cells[-1].label == "ground truth"

    def best(self, metric: str) -> float | None:
        """The best score of the case, the identity's included; None where nothing is scored."""
        values = [cell.scores[metric] for cell in self.cells if metric in cell.scores]
        return (min if metric in LOWER_IS_BETTER else max)(values) if values else None


def read_panels(evaluated: Evaluated, benchmark: str, count: int) -> list[Panel]:
    """At most ``count`` cases that the evaluation kept, as many worst as median as best ones.

    Raises:
        RunError: a picture that the evaluation listed is missing.
    """
    folder = evaluated.folder / "cases" / benchmark
    if count < 1 or not (folder / "cases.json").exists():
        return []
    listed: Any = read_json(folder / "cases.json", [CASE], "run the evaluation's command again")
    # listed from worst to best: the worst of the worst comes first, the best of the best last
    by_kind = [[entry for entry in listed if entry["kind"] == kind] for kind in KINDS]
    by_kind = [by_kind[0], middle_first(by_kind[1]), by_kind[2][::-1]]
    rounds = max(map(len, by_kind), default=0)
    taken = [entries[n]["case"] for n in range(rounds) for entries in by_kind if n < len(entries)][:count]
    return [read_panel(evaluated, benchmark, entry) for entry in listed if entry["case"] in taken]


def middle_first(entries: list[Any]) -> list[Any]:
    """The entries, those in the middle first."""
    return sorted(entries, key=lambda entry: abs(entries.index(entry) - (len(entries) - 1) / 2))


def read_panel(evaluated: Evaluated, benchmark: str, entry: Mapping[str, Any]) -> Panel:
    """One entry of cases.json with its pictures."""
    folder = evaluated.folder / "cases" / benchmark / entry["case"]
    removers = [label for label, facts in evaluated.record["removers"].items() if facts["name"] != "identity"]
    identity = [label for label, facts in evaluated.record["removers"].items() if facts["name"] == "identity"]
    scores = entry["scores"]
    mixture = _read(folder / "mixture.png")
    cells = [Cell("mixture", scores.get(identity[0], {}) if identity else {}, mixture)]
    cells += [Cell(label, scores.get(label, {}), _read(folder / f"{file_name(label)}.png")) for label in removers]
    truth = _read(folder / "background.png") if (folder / "background.png").exists() else None
    regions = close_ups(mixture, [cell.photo for cell in cells[1:]], truth)
    if truth is not None:
        cells.append(Cell("ground truth", {}, truth))
    kind = entry["kind"] if truth is not None else KINDS_OF_CHANGE.get(entry["kind"], entry["kind"])
    return Panel(benchmark, entry["case"], kind, entry["protocol"], [*evaluated.record["removers"]][-1], cells, regions)


def score_text(metric: str, value: float) -> str:
    """``17.1 dB``, ``0.785``."""
    return f"{value:.{digits(metric) - 1}f}" + (" dB" if metric == "psnr" else "")


def jpeg(photo: Pixels | Image.Image, quality: int = 80) -> bytes:
    """A photo as JPEG; the same bytes for the same pixels."""
    encoded = io.BytesIO()
    picture = photo if isinstance(photo, Image.Image) else Image.fromarray(photo)
    picture.save(encoded, "JPEG", quality=quality, optimize=True)
    return encoded.getvalue()


def reduced(path: Path, width: int) -> Image.Image:
    """A picture at most ``width`` wide."""
    picture = Image.fromarray(_read(path))
    height = round(picture.height * width / picture.width)
    return picture if picture.width <= width else picture.resize((width, height), Image.Resampling.LANCZOS)


def sheet(panels: Sequence[Panel], width: int = 960) -> Image.Image:
    """The panels as one picture, a row each, for where there is no browser: pictures with frames, close-ups below."""
    gap, line = 10, 18
    columns = max(len(panel.cells) for panel in panels)
    cell = (width - gap * (columns + 1)) // columns
    rows = [(panel, round(cell * panel.cells[0].photo.shape[0] / panel.cells[0].photo.shape[1])) for panel in panels]
    rows = [(panel, min(height, round(1.2 * cell))) for panel, height in rows]
    patch = (cell - 4) // 2
    total = sum(2 * line + height + 4 + (patch if panel.regions else 0) + 2 * gap for panel, height in rows)
    canvas = Image.new("RGB", (width, total + gap), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    top = gap
    for panel, height in rows:
        scale = height / panel.cells[0].photo.shape[0]
        wide = round(panel.cells[0].photo.shape[1] * scale)
        for number, shown in enumerate(panel.cells):
            left = gap + number * (cell + gap)
            pen.text((left, top), shown.label if number else f"{panel.case}, mixture", fill="#111111", font=font)
            text = " / ".join(score_text(m, shown.scores[m]) for m in SHOWN_METRICS if m in shown.scores)
            pen.text((left, top + line), text, fill="#666666", font=font)
            below = top + 2 * line
            canvas.paste(Image.fromarray(shown.photo).resize((wide, height), Image.Resampling.LANCZOS), (left, below))
            for place, (region, colour) in enumerate(zip(panel.regions, COLOURS, strict=False)):
                box = [round(scale * side) for side in (region.left, region.top, region.side)]
                corner = (left + box[0], below + box[1])
                pen.rectangle((*corner, corner[0] + box[2] - 1, corner[1] + box[2] - 1), outline=colour, width=2)
                at = (left + place * (patch + 4), below + height + 4)
                canvas.paste(
                    Image.fromarray(cut(shown.photo, region)).resize((patch, patch), Image.Resampling.BICUBIC), at
                )
                pen.rectangle((*at, at[0] + patch - 1, at[1] + patch - 1), outline=colour, width=2)
        top += 2 * line + height + 4 + (patch if panel.regions else 0) + 2 * gap
    return canvas


def cut(photo: Pixels, region: Region) -> Pixels:
    """A close-up's pixels."""
    top, left, side = region
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def _read(path: Path) -> Pixels:
    if not path.exists():
        raise RunError(f"{path} is missing: run the evaluation's command again, which makes its pictures anew.")
    return read_image(path)
