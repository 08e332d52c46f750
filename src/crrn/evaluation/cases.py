"""The worst, median and best cases of an evaluation, with everybody's pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crrn.evaluation.methods import file_name
from crrn.evaluation.runner import Evaluation, Layered, read_case
from crrn.evaluation.summary import Table, ranking, read_tables
from crrn.files import write_atomically
from crrn.image.picture import to_picture, to_tensor


def keep_cases(evaluation: Evaluation, each: int) -> None:
    """Writes cases/BENCHMARK/: pictures of ``each`` worst, median and best cases under the first protocol, and
    cases.json.

    They are ranked by the last remover's gain over the identity in the protocol's first metric; without ground truth,
    by how much it changed. Cases that are there already, from an earlier start, are kept.
    """
    if each < 1:
        return
    protocol = evaluation.protocols[0]
    for benchmark in evaluation.benchmarks:
        tables = read_tables(evaluation.folder, evaluation.record, benchmark.name, protocol)
        chosen = choose(tables, protocol, each)
        folder = evaluation.folder / "cases" / benchmark.name
        cases = {case.name: case for case in benchmark.cases}
        listed = []
        for number, (name, kind) in enumerate(chosen.items()):
            evaluation.progress(f"{benchmark.name}: pictures of cases", number, len(chosen))
            pictures = {row.label: folder / name / f"{file_name(row.label)}.png" for row in evaluation.rows}
            if not all(path.exists() for path in pictures.values()):
                layered = read_case(cases[name])
                if not isinstance(layered, Layered):
                    continue
                mixture = to_tensor(protocol.fit(layered.mixture)).to(evaluation.device)
                for role in ("mixture", "background", "reflection"):
                    photo = getattr(layered, role)
                    if photo is not None:
                        _write(folder / name / f"{role}.png", to_tensor(protocol.fit(photo)))
                for row in evaluation.rows:
                    layers = evaluation.opened(row).layers(cases[name], mixture, layered.mixture, protocol)
                    _write(pictures[row.label], layers.background)
                    if layers.reflection is not None and row.name != "identity":
                        _write(pictures[row.label].with_suffix(".reflection.png"), layers.reflection)
            scores = {table.label: table.rows[name].values for table in tables if name in table.rows}
            listed.append({"case": name, "kind": kind, "protocol": protocol.name, "scores": scores})
        evaluation.progress(f"{benchmark.name}: pictures of cases", len(chosen), len(chosen))
        with write_atomically(folder / "cases.json", "w") as file:
            json.dump(_without_nan(listed), file, indent=1)


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
    from dataclasses import replace

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
