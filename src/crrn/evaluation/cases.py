"""The worst, median and best cases of an evaluation, with everybody's pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crrn.data.benchmarks import Case
from crrn.errors import CheckpointError, ConfigError, RunError
from crrn.evaluation.methods import file_name
from crrn.evaluation.runner import Evaluation, read_case, reason_of
from crrn.evaluation.summary import Table, ranking, read_tables
from crrn.files import write_atomically
from crrn.image.picture import to_picture, to_tensor

log = logging.getLogger(__name__)


def keep_cases(evaluation: Evaluation, each: int) -> None:
    """Writes cases/BENCHMARK/: pictures of ``each`` worst, median and best cases under the first protocol, and
    cases.json.

    They are ranked by the last remover's gain over the identity in the protocol's first metric; without ground truth,
    by how much it changed. A case that failed for one of the removers is not among them. Cases that are there already,
    from an earlier start, are kept.
    """
    if each < 1:
        return
    protocol = evaluation.protocols[0]
    for benchmark in evaluation.benchmarks:
        tables = read_tables(evaluation.folder, evaluation.record, benchmark.name, protocol)
        chosen = choose(_common(tables, {row.label for row in evaluation.rows}), protocol, each)
        folder = evaluation.folder / "cases" / benchmark.name
        cases = {case.name: case for case in benchmark.cases}
        listed = []
        for number, (name, kind) in enumerate(chosen.items()):
            evaluation.progress(f"{benchmark.name}: pictures of cases", number, len(chosen))
            pictures = {row.label: folder / name / f"{file_name(row.label)}.png" for row in evaluation.rows}
            if not all(path.exists() for path in pictures.values()):
                try:
                    _keep(evaluation, cases[name], folder / name, pictures)
                except (RunError, ConfigError, CheckpointError):
                    raise  # of the evaluation, not of this case
                except Exception as error:  # such as a memory that is shorter now; the numbers are there
                    log.warning("no pictures of %s, %s: %s", benchmark.name, name, reason_of(error))
                    continue
            scores = {table.label: table.rows[name].values for table in tables if name in table.rows}
            listed.append({"case": name, "kind": kind, "protocol": protocol.name, "scores": scores})
        evaluation.progress(f"{benchmark.name}: pictures of cases", len(chosen), len(chosen))
        with write_atomically(folder / "cases.json", "w") as file:
            json.dump(_without_nan(listed), file, indent=1)


def _keep(evaluation: Evaluation, case: Case, folder: Path, pictures: Mapping[str, Path]) -> None:
    """Writes a case's pictures, the removers' by label."""
    protocol = evaluation.protocols[0]
    evaluation.require_memory(case, [protocol])
    layered = read_case(case)
    mixture = to_tensor(protocol.fit(layered.mixture)).to(evaluation.device)
    for role in ("mixture", "background", "reflection"):
        photo = getattr(layered, role)
        if photo is not None:
            _write(folder / f"{role}.png", to_tensor(protocol.fit(photo)))
    for row in evaluation.rows:
        layers = evaluation.opened(row).layers(case, mixture, layered.mixture, protocol)
        _write(pictures[row.label], layers.background)
        if layers.reflection is not None and row.name != "identity":
            _write(pictures[row.label].with_suffix(".reflection.png"), layers.reflection)


def _common(tables: Sequence[Table], labels: Collection[str]) -> list[Table]:
    """The tables, of the images alone that all removers with these labels have numbers of."""
    images = set[str].intersection(*(set(table.rows) for table in tables if table.label in labels))
    return [
        replace(table, rows={image: row for image, row in table.rows.items() if image in images}) for table in tables
    ]


def choose(tables: Sequence[Table], protocol: Any, each: int) -> dict[str, str]:
    """Case -> "worst", "median" or "best", in that order, without doubles."""
    if not tables:
        return {}
    order = ranking(_gains(tables), protocol)
    middle = max(0, (len(order) - each) // 2)
    chosen: dict[str, str] = {}
    for kind, names in (("worst", order[:each]), ("median", order[middle : middle + each]), ("best", order[-each:])):
        for name in names:
            chosen.setdefault(name, kind)
    return chosen


def _gains(tables: Sequence[Table]) -> Table:
    last, identity = tables[-1], tables[0]
    if last is identity:
        return last
    rows = {
        image: replace(
            row,
            values={
                m: value - (identity.rows[image].values[m] if m not in ("change", "residual") else 0)
                for m, value in row.values.items()
            },
        )
        for image, row in last.rows.items()
        if image in identity.rows
    }
    return Table(last.label, rows, {})


def _write(path: Path, image: Any) -> None:
    with write_atomically(path) as file:
        to_picture(image[0].float()).save(file, "PNG")


def _without_nan(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def known(values: Mapping[str, float]) -> dict[str, float]:
        return {metric: value for metric, value in values.items() if value == value}

    return [
        {**entry, "scores": {label: known(values) for label, values in entry["scores"].items()}} for entry in listed
    ]
