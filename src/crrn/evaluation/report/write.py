"""Writing a report's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crrn.errors import RunError
from crrn.evaluation.methods import file_name
from crrn.evaluation.report.content import Content
from crrn.evaluation.report.html import page
from crrn.evaluation.report.latex import latex
from crrn.evaluation.report.pictures import jpeg, sheet
from crrn.evaluation.report.readme import readme, tables
from crrn.evaluation.summary import plain
from crrn.files import remove_leftovers, write_atomically
from crrn.records import read_json

METRICS = "metrics.json"


def write_report(folder: Path | str, content: Content) -> list[Path]:
    """Writes experiments/NAME/: README.md, report.html, tables.md, tables.tex, a picture a benchmark, metrics.json.

    The same content gives the same bytes. metrics.json lists the files, so that another report into the folder
    replaces what this one wrote, and nothing else.

    Raises:
        RunError: the folder holds files that no report wrote, or cannot be written to.
    """
    folder = Path(folder)
    before = files_of_a_report(folder)
    files: dict[str, bytes] = {}
    pictures: dict[str, str] = {}
    for benchmark in dict.fromkeys(panel.benchmark for panel in content.panels):
        pictures[benchmark] = f"{file_name(benchmark)}.jpg"
        shown = [panel for panel in content.panels if panel.benchmark == benchmark][:3]
        files[pictures[benchmark]] = jpeg(sheet(shown), content.quality)
    texts = {
        "README.md": readme(content, pictures),
        "report.html": page(content),
        "tables.md": tables(content),
        "tables.tex": latex(content.all_grids()),
    }
    files |= {name: text.encode(errors="replace") for name, text in texts.items()}
    names = {*files, METRICS}
    # All that is or will be there is listed before it is touched: a report that was killed can be written again.
    values = plain(metrics(content))
    _write(folder / METRICS, _json({**values, "files": sorted(before | names)}))
    for name, written in files.items():
        _write(folder / name, written)
    for name in before - names:
        (folder / name).unlink(missing_ok=True)
    _write(folder / METRICS, _json({**values, "files": sorted(names)}))
    remove_leftovers(folder)
    return [folder / name for name in (*files, METRICS)]


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode(errors="replace")


def _write(path: Path, written: bytes) -> None:
    with write_atomically(path) as file:
        file.write(written)


def files_of_a_report(folder: Path) -> set[str]:
    """What an earlier report wrote into the folder.

    Raises:
        RunError: there is something else too.
    """
    if not folder.is_dir():
        return set()
    known = (folder / METRICS).exists()
    written = set(read_json(folder / METRICS, {"files?": [str]}, "move it away").get("files", [])) if known else set()
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in written and path.suffix != ".tmp")
    if foreign:
        raise RunError(
            f"{folder} holds {foreign[0]}, which no report wrote: give the report another name by name=NEW, or move it "
            "away."
        )
    return {name for name in written if Path(name).name == name}


def metrics(content: Content) -> dict[str, Any]:
    """The numbers, as plain values."""
    return {
        "question": content.question,
        "answer": content.answer,
        "commands": content.commands,
        "evaluations": {
            one.name: {
                "benchmarks": one.record["benchmarks"],
                "protocols": one.record["protocols"],
                "removers": one.record["removers"],
                "device": one.record["device"],
                "session": one.record["sessions"][-1],
                "results": one.results,
            }
            for one in content.evaluations
        },
        "runs": {run.name: {"metrics": run.metrics, "data": run.record.get("data", {})} for run in content.runs},
        "paper": content.paper_values,
    }
