"""What an evaluation says of one remover beside the unchanged photo: the figures of its card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crrn.errors import RunError
from crrn.evaluation.runner import mean
from crrn.evaluation.summary import Table, collect, protocols_of, read_tables
from crrn.evaluation.tables import working_size
from crrn.metrics.gain import HARM_PSNR, HARM_SSIM


def figures_of(folder: Path, digest: str) -> list[dict[str, Any]]:
    """The figures of the remover with a digest, for each benchmark and protocol of an evaluation.

    Returns:
        [{"benchmark", "protocol", "images", "working_size", "metrics": {name: mean}}]; the metrics are the evaluation's
        and "gain_psnr", "gain_ssim" and "harm_rate" over the identity, where PSNR and SSIM were measured.

    Raises:
        RunError: there is no evaluation, or none of its removers has this digest.
    """
    summary = collect(folder)
    record = summary["evaluation"]
    labels = [label for label, facts in record["removers"].items() if facts["digest"] == digest]
    if not labels:
        raise RunError(
            f"{folder} has no row of these very weights with their own settings: evaluate the shipped file, as in "
            "`python -m src.eval removers=[NAME] ...`, and give that evaluation."
        )
    identity = next(label for label, facts in record["removers"].items() if facts["name"] == "identity")
    protocols = {protocol.name: protocol for protocol in protocols_of(record)}
    figures = []
    for result in summary["results"]:
        entry = result["removers"].get(labels[0])
        if entry is None:
            continue
        tables = read_tables(folder, record, result["benchmark"], protocols[result["protocol"]])
        by_label = {table.label: table for table in tables}
        figures.append(
            {
                "benchmark": result["benchmark"],
                "protocol": result["protocol"],
                "images": entry["images"],
                "working_size": working_size(labels[0], result["protocol"], record),
                "metrics": {
                    **gains(by_label[labels[0]], by_label[identity]),
                    **{name: value["mean"] for name, value in entry["metrics"].items()},
                },
            }
        )
    return figures


def gains(table: Table, identity: Table) -> dict[str, float]:
    """Mean gain in PSNR (dB) and SSIM, and the harm rate, over the images that both have."""
    differences = [
        {name: row.values[name] - identity.rows[image].values[name] for name in ("psnr", "ssim")}
        for image, row in table.rows.items()
        if image in identity.rows and {"psnr", "ssim"} <= row.values.keys() and not math.isnan(row.values["ssim"])
    ]
    if not differences:
        return {}
    return {
        "gain_psnr": mean([one["psnr"] for one in differences]),
        "gain_ssim": mean([one["ssim"] for one in differences]),
        "harm_rate": mean([float(harmed(one)) for one in differences]),
    }


def harmed(gain: Mapping[str, float]) -> bool:
    """Whether an image became worse: PSNR lower by more than `HARM_PSNR` or SSIM by more than `HARM_SSIM`."""
    return gain["psnr"] < -HARM_PSNR or gain["ssim"] < -HARM_SSIM
