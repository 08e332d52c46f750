"""Shipping a network with the package: its weights, its description and its card, in `crrn.catalogue.FOLDER`."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from crrn.catalogue import METHODS, shipped
from crrn.errors import ConfigError, ExportError
from crrn.files import write_atomically
from crrn.inference.export import export_network
from crrn.inference.model_card import LAYERS, LIMITS, network_line, run_record, training_lines
from crrn.nets import Prediction, estimates_of, record_of
from crrn.nets.prediction import set_prediction

LIMIT_MB = 24
"""The most that all shipped weights take together."""

RESEARCH_USE = (
    "For research use: it was trained on photos whose licences are not verified, and the licence of its weights is not "
    "stated."
)
MEASURES = {
    "psnr": ("PSNR (dB)", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "gain_psnr": ("PSNR gain (dB)", "+.2f"),
    "gain_ssim": ("SSIM gain", "+.4f"),
    "matched_gain_psnr": ("matched PSNR gain (dB)", "+.2f"),
    "matched_gain_ssim": ("matched SSIM gain", "+.4f"),
    "harm_rate": ("harm rate", ".0%"),
}
"""What the card's table shows of the figures, where an evaluation has it."""


def ship_weights(
    network: nn.Module,
    name: str,
    folder: Path,
    precision: str,
    prediction: Prediction,
    checkpoint: Path,
    time: str | None,
) -> dict[str, Any]:
    """Write a network's weights into the package's folder. The file is read back and compared with the network first.

    Args:
        network: the network.
        name: its name in commands and in `crrn.remove`: small letters, digits, dots and dashes.
        folder: of the shipped networks.
        precision: of the weights, as of `export_network`.
        prediction: the settings that prediction uses.
        checkpoint: the file that the network was read from. Its run gives the facts of the card.
        time: how long the training took; None: as the run says.

    Returns:
        The network's entry, without "about" and "default", for `write_entry`.

    Raises:
        ConfigError: the name cannot be used.
        ExportError: all shipped weights together would take more than `LIMIT_MB`, or the file is not the network.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) or name in {*METHODS, "identity"}:
        raise ConfigError(f"name={name} cannot be a network's name: give small letters, digits, dots and dashes.")
    path = folder / f"{name}.safetensors"
    others = sum(file.stat().st_size for file in folder.glob("*.safetensors") if file != path)
    set_prediction(network, prediction)
    before = path.read_bytes() if path.exists() else None
    differences = export_network(network, path, "safetensors", precision)
    size = path.stat().st_size
    if others + size > LIMIT_MB * 1e6:
        path.unlink() if before is None else path.write_bytes(before)
        raise ExportError(
            f"The shipped weights would take {(others + size) / 1e6:.1f} MB, and the limit is {LIMIT_MB}: give "
            "precision=int8, a narrower network, or remove another one."
        )
    run = run_record(checkpoint)
    return {
        "name": name,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "card": f"{name}.md",
        "net": record_of(network),
        "estimates": list(estimates_of(network)),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "precision": precision,
        "difference": max(differences.values()),
        "prediction": prediction.record(),
        "training": [*training_lines(run), *_session_lines(run, checkpoint, time)],
        "figures": [],
        "fails": "",
    }


def write_entry(entry: Mapping[str, Any], folder: Path) -> Path:
    """Write a network's description and card; where it is the default, no other stays one. Gives the card's path.

    Raises:
        ConfigError: huggingface_hub is not installed.
    """
    card = card_text(entry)
    for other in shipped(folder).values():
        if entry["default"] and other.default and other.name != entry["name"]:
            path = folder / f"{other.name}.json"
            _write_json(path, {**json.loads(path.read_text(encoding="utf-8")), "default": False})
    _write_json(folder / f"{entry['name']}.json", entry)
    with write_atomically(folder / entry["card"], "w") as file:
        file.write(card)
    return folder / str(entry["card"])


def read_entry(name: str, folder: Path) -> dict[str, Any]:
    """The entry of a network that is there already.

    Raises:
        ConfigError: there is none of this name.
    """
    known = shipped(folder)
    if name not in known:
        raise ConfigError(
            f"{folder} holds no network {name}, only {', '.join(known) or 'none at all'}: give the checkpoint to ship "
            "as checkpoint=runs/NAME."
        )
    entry: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return entry


def card_text(entry: Mapping[str, Any]) -> str:
    """A shipped network's model card, with the front matter and the results that the Hugging Face hub reads."""
    try:
        from huggingface_hub import EvalResult, ModelCardData
    except ModuleNotFoundError as error:
        raise ConfigError("Model cards need huggingface_hub: pip install 'crrn[hub]'.") from error
    results = [
        EvalResult(
            task_type="image-to-image",
            task_name="Reflection removal",
            dataset_type=figure["benchmark"],
            dataset_name=figure["benchmark"],
            dataset_config=f"protocol {figure['protocol']}",
            metric_type=measure,
            metric_name=label,
            metric_value=figure["metrics"][measure],
        )
        for figure in entry["figures"]
        for measure, (label, _) in MEASURES.items()
        if measure in figure["metrics"]
    ]
    data = ModelCardData(
        model_name=entry["name"],
        library_name="crrn",
        pipeline_tag="image-to-image",
        tags=["reflection-removal", "image-restoration", "pytorch"],
        eval_results=results or None,
    )
    net, prediction = entry["net"], Prediction(**entry["prediction"])
    body = [
        f"# {entry['name']}",
        "",
        f"{entry['about']}.",
        "",
        *_warnings(entry["figures"]),
        RESEARCH_USE,
        "",
        "## Use",
        "",
        "```sh",
        f"crrn remove photo.jpg -o clean --model {entry['name']}",
        "```",
        "",
        "```python",
        "import crrn",
        "",
        f'clean = crrn.remove("photo.jpg", model="{entry["name"]}")',
        f'network = crrn.load("{entry["name"]}")  # from a mixture (N, 3, H, W) in [0, 1] to its layers',
        "```",
        "",
        f"By default it works at {prediction.describe()}.",
        "",
        "## Network",
        "",
        f"- {network_line(net)}, {entry['parameters']:,} parameters",
        *(f"- `{name}`: {LAYERS[name]}" for name in entry["estimates"]),
        f"- Weights: `{entry['file']}`, {entry['precision']}; sha256 `{entry['sha256']}`",
        f"- Read back and compared with the trained network on images of noise: {entry['difference']:.1e} at most",
        "",
        "## Training",
        "",
        *entry["training"],
        "",
        "## Results",
        "",
        *_results(entry["figures"]),
        "",
        "## Limits",
        "",
        *([entry["fails"], ""] if entry["fails"] else []),
        LIMITS,
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(body) + "\n"


def without_folders(command: Sequence[str]) -> str:
    """A command as one line, each absolute path cut to its last name: it tells nothing of the machine."""
    return re.sub(r"(?<![\w.])/(?:[^/\s,=\]}:']+/)+", "", shlex.join(map(str, command)))


def _session_lines(run: Mapping[str, Any], checkpoint: Path, time: str | None) -> list[str]:
    sessions = run.get("sessions", [])
    if not sessions:
        return [f"- Time: {time}"] if time else []
    if time is None and len(sessions) == 1 and checkpoint.exists():
        end = datetime.fromtimestamp(checkpoint.stat().st_mtime, UTC)
        hours = (end - datetime.fromisoformat(sessions[0]["started"])).total_seconds() / 3600
        time = f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
    return [
        f"- Command: `{without_folders(sessions[0]['command'])}`",
        f"- Machine: {sessions[0].get('machine', 'not recorded')}",
        f"- Time: {time or f'not recorded, in {len(sessions)} sessions'}",
    ]


def _warnings(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each benchmark on which the unchanged photo scores better."""
    lines = []
    for figure in figures:
        worse = [
            f"{MEASURES[measure][0]} {figure['metrics'][f'gain_{measure}']:{MEASURES[f'gain_{measure}'][1]}}"
            for measure in ("psnr", "ssim")
            if figure["metrics"].get(f"gain_{measure}", 0) < 0
        ]
        if worse:
            where = f"{figure['benchmark']} (protocol {figure['protocol']})"
            lines += [f"**On {where} the unchanged photo scores better on average: {' and '.join(worse)}.**", ""]
    return lines


def _results(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    if not figures:
        return ["None are recorded yet."]
    measures = [measure for measure in MEASURES if any(measure in figure["metrics"] for figure in figures)]
    lines = [
        "Means over images. Gains are over the unchanged photo. A matched gain is what remains when photo and estimate",
        "first get the best gain and offset of each channel. The harm rate is the share of images that became worse.",
        "",
        f"| | protocol | working size | images | {' | '.join(MEASURES[measure][0] for measure in measures)} |",
        f"|---|---|---|---:|{'---:|' * len(measures)}",
    ]
    for figure in figures:
        cells = [
            format(figure["metrics"][measure], MEASURES[measure][1]) if measure in figure["metrics"] else "–"
            for measure in measures
        ]
        lines.append(
            f"| {figure['benchmark']} | {figure['protocol']} | {figure['working_size']} | {figure['images']} | "
            f"{' | '.join(cells)} |"
        )
    return lines


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with write_atomically(path, "w") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
