"""What an evaluation says of one remover beside the unchanged photo: the figures of its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crrn.errors import RunError
from crrn.evaluation.summary import collect
from crrn.evaluation.tables import working_size


def figures_of(folder: Path, digest: str) -> list[dict[str, Any]]:
    """The figures of the remover with a digest, for each benchmark and protocol of an evaluation.

    Returns:
        [{"benchmark", "protocol", "images", "working_size", "metrics": {name: mean}}]; the metrics are the evaluation's
        and the gains over the identity.

    Raises:
        RunError: there is no evaluation, or none of its removers has this digest.
    """
    summary = collect(folder)
    record = summary["evaluation"]
    labels = [label for label, facts in record["removers"].items() if facts["digest"] == digest]
    if not labels:
        raise RunError(
            f"{folder} has no row of these very weights with their own settings: evaluate the shipped file, as in "
            "`crrn eval removers=[NAME] ...`, and give that evaluation."
        )
    figures = []
    for result in summary["results"]:
        entry = result["removers"].get(labels[0])
        if entry is None:
            continue
        figures.append(
            {
                "benchmark": result["benchmark"],
                "protocol": result["protocol"],
                "images": entry["images"],
                "working_size": working_size(labels[0], result["protocol"], record),
                "metrics": {name: value["mean"] for name, value in entry["metrics"].items()},
            }
        )
    return figures
