"""Model cards: what a network is, where it comes from and how to use it, written from its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crrn.errors import ExportError
from crrn.inference.export import SUFFIXES
from crrn.nets import estimates_of, record_of
from crrn.nets.record import TARGET, describe, upgraded

CARD = "README.md"
MARK = "<!-- written by crrn's export, which overwrites it: "

LAYERS = {
    "background": "the scene behind the glass, 3 channels",
    "reflection": "what the glass reflects, 3 channels",
    "gradient": "the gradient magnitude of the background, 1 channel",
}
NETWORKS = {
    "crrn.nets.CRRN": "CRRN (Wan et al., CVPR 2018), GiN and IiN joined",
    "crrn.nets.IiN": "IiN alone, without gradient features",
    "crrn.nets.GiN": "GiN alone",
    "crrn.nets.CEILNet": "CEILNet (Fan et al., ICCV 2017), E-CNN and I-CNN",
}
"""What a person reads of a network, by its class; of others their name is told."""
ROWS = (
    ("Background, identity (output = input)", "identity_background"),
    ("Background, estimated", "background"),
    ("Reflection, estimated", "reflection"),
    ("Gradient of B, identity (gradient of the input)", "identity_gradient"),
    ("Gradient of B, estimated", "gradient"),
)
MEASURES = {"ssim": ".4f", "si": ".4f", "psnr": ".2f"}

USE = {
    "onnx": """```python
import numpy, onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("{file}")
photo = numpy.asarray(Image.open("photo.jpg").convert("RGB"), numpy.float32) / 255
{first}, *others = session.run(None, {{"mixture": photo.transpose(2, 0, 1)[None]}})  # any height and width
```""",
    "torch_export": """```python
import torch  # crrn is not needed; load only .pt2 files that you trust

module = torch.export.load("{file}").module()
{first}, *others = module(mixture)  # (N, 3, H, W) in [0, 1]
```""",
    "safetensors": """```python
import crrn, torch

network = crrn.from_pretrained("FOLDER")  # this folder, or its name on the Hugging Face hub
with torch.inference_mode():
    layers = crrn.estimate(network, mixture)  # (N, 3, H, W) in [0, 1], any height and width
layers.{first}
```""",
}

LIMITS = """\
Reflections that are strong or saturated, or that cover most of the photo, may stay or be mistaken for the scene. What a
reflection has hidden is guessed: do not use the result as evidence. Estimates are not clipped to [0, 1]."""


def write_card(
    network: nn.Module,
    checkpoint: Path,
    files: Mapping[str, Mapping[str, float]],
    licence: str | None,
    title: str,
    version: str,
    digest: str,
) -> str:
    """The card as Markdown with the front matter that the Hugging Face hub reads.

    It contains no path and no command of this machine.

    Args:
        network: the network.
        checkpoint: the file that the network was read from. A run directory around it gives settings, data and metrics.
        files: the exported files, each with its largest difference to the network for each size (`export_network`).
        licence: of the weights, as the hub spells it, such as "mit". None: the card says that none is stated.
        title: the model's name.
        version: of crrn.
        digest: of the checkpoint. `files_of` finds the files of an earlier card by it.
    """
    run = run_record(checkpoint)
    head = ["---", "library_name: crrn", "pipeline_tag: image-to-image"]
    head += [f"license: {json.dumps(licence)}"] if licence else []
    head += ["tags:", "- reflection-removal", "- image-restoration", "- pytorch", "---"]
    head += [f"{MARK}{json.dumps({'checkpoint': digest, 'files': files})} -->", ""]
    estimates = estimates_of(network)
    count = sum(parameter.numel() for parameter in network.parameters())
    layers = "\n".join(f"- `{name}`: {LAYERS[name]}" for name in LAYERS if name in estimates)
    task = "removes reflections from" if "background" in estimates else "finds the scene's gradient in"
    body = [
        f"# {title}",
        "",
        f"A network that {task} photos taken through glass, exported with crrn {version} (PyTorch).",
        "",
        f"{network_line(record_of(network))}, {count:,} parameters.",
        "From a mixture (N, 3, H, W), RGB in [0, 1], float32, any height and width, it estimates",
        "",
        layers,
        "",
        "## Use",
        "",
        *_use(network, files),
        "## Training",
        "",
        *training_lines(run),
        "",
        "## Results",
        "",
        *_results(checkpoint, run),
        "",
        "## Files",
        "",
        "Each was compared with the network before it was written; the largest difference of any value of any layer:",
        "",
        *_files(files),
        "",
        "## Limits",
        "",
        "It was trained on mixtures, in which a reflection is added to a photo; real ones are harder.",
        LIMITS,
        "",
        "## Licence",
        "",
        _licence(licence),
    ]
    return "\n".join([*head, *body]) + "\n"


def network_line(record: Mapping[str, Any]) -> str:
    """A network in a few words: what it is, and its settings."""
    record = upgraded(record)
    settings = [f"{name.replace('_', ' ')} {value}" for name, value in record.items() if name != TARGET]
    return ", ".join([NETWORKS.get(record[TARGET], describe({TARGET: record[TARGET]})), *settings])


def card_place(folder: Path) -> Path:
    """Where the card of a folder goes.

    Raises:
        ExportError: a README.md that someone else wrote is there.
    """
    path = folder / CARD
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise ExportError(
            f"{path} was not written by an export and would be overwritten by the model card: choose a folder of its "
            f"own, such as output={folder / 'export'}."
        )
    return path


def files_of(card: Path, digest: str) -> dict[str, dict[str, float]]:
    """The files, with their differences, that a card lists: those that are there, of the same checkpoint."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.exists() else ""
    try:
        noted = json.loads(text.partition(MARK)[2].partition(" -->")[0])
        files = noted["files"] if noted["checkpoint"] == digest else {}
        # only names of its own folder: they may be uploaded
        there = {path.name for path in card.parent.iterdir() if path.suffix in SUFFIXES.values()}
        return {name: {str(size): float(by) for size, by in files[name].items()} for name in files if name in there}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def run_record(checkpoint: Path) -> dict[str, Any]:
    """What the run that a checkpoint, or the folder of its stage, lies in noted of itself; empty where none is."""
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        record = _json(folder / "run.json")
        if record:
            return record
    return {}


def metrics_of(checkpoint: Path) -> dict[str, float]:
    """The validation metrics that are known to be those of a checkpoint: of a run's or a stage's weights, or of a
    best.ckpt.
    """
    if checkpoint.name == "weights.safetensors":
        metrics = _json(checkpoint.with_name("summary.json")) or _json(checkpoint.with_name("result.json"))
    elif checkpoint.name == "best.ckpt":
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        metrics = state.get("callbacks", {}).get("Checkpoints", {}).get("metrics", {})
    else:
        metrics = {}
    return {name: float(value) for name, value in metrics.items() if name.startswith(("val/", "pairs/"))}


def _use(network: nn.Module, files: Iterable[str]) -> list[str]:
    first = next(name for name in LAYERS if name in estimates_of(network))
    lines = []
    for name in files:
        form = next(form for form, suffix in SUFFIXES.items() if name.endswith(suffix))
        lines += [USE[form].format(file=name, first=first), ""]
    return lines


def training_lines(run: dict[str, Any]) -> list[str]:
    """How a network was trained, as a list in Markdown, from what its run noted of itself."""
    config, data = run.get("config", {}), run.get("data", {})
    if not config:
        return ["The checkpoint did not lie in a run directory: how it was trained is not recorded here."]
    lines = []
    for role in ("background", "reflection"):
        source = data.get(role)
        if source:
            lines.append(
                f"- {role.capitalize()} photos: `{Path(str(source['source'])).name}`, {source['training']} to train "
                f"on, {source['held_out']} held out"
            )
    if "fingerprint" in data:
        lines.append(f"- Fingerprint of the photos' names and sizes: `{data['fingerprint']}`")
    batches = config.get("data", {}).get("batches", {})
    settings = {
        "seed": config.get("seed"),
        "ablation": config.get("ablation"),
        "mixing": _values(config.get("mixing")),
        "first weights": _first_weights(run),
        "sizes": batches.get("sizes"),
        "batch size": batches.get("batch_size"),
        "samples per epoch": batches.get("samples_per_epoch"),
        "optimizer": _values(config.get("optimizer")),
        "stages": "; ".join(
            f"{name}: {config['stages'][name].get('epochs')} epochs at {config['stages'][name].get('learning_rate')}"
            for name in config.get("stages", {}).get("order", ())
        ),
        "loss": _values(config.get("loss")),
        "weights averaged with decay": config.get("ema_decay"),
        "precision": config.get("trainer", {}).get("precision"),
    }
    lines += [f"- {name.capitalize()}: {_text(value)}" for name, value in settings.items() if value not in (None, "")]
    session = (run.get("sessions") or [{}])[-1]
    versions = session.get("versions", {})
    if versions:
        lines.append(
            "- Versions: " + ", ".join(f"{name} {versions[name]}" for name in ("crrn", "torch") if name in versions)
        )
    if session.get("git", {}).get("commit"):
        changed = ", with uncommitted changes" if session["git"].get("dirty") else ""
        lines.append(f"- Commit of crrn: `{session['git']['commit']}`{changed}")
    return lines


def _results(checkpoint: Path, run: dict[str, Any]) -> list[str]:
    metrics = metrics_of(checkpoint)
    rows = [
        f"| {label} | "
        + " | ".join(format(metrics[f"val/{key}_{measure}"], form) for measure, form in MEASURES.items())
        + " |"
        for label, key in ROWS
        if all(f"val/{key}_{measure}" in metrics for measure in MEASURES)
    ]
    if not rows:
        return ["No metrics are recorded with this checkpoint."]
    validation = run.get("config", {}).get("data", {}).get("validation", {})
    said = f"{validation['mixtures']} mixtures" if validation.get("mixtures") else "Mixtures"
    at = f" at {validation['size']}" if validation.get("size") else ""
    return [
        f"{said} of held-out photos{at}, made as those for training were:",
        "",
        "| | SSIM | SI | PSNR (dB) |",
        "|---|---:|---:|---:|",
        *rows,
        *gain_lines(metrics),
    ]


def gain_lines(metrics: Mapping[str, float]) -> list[str]:
    """What the background gains over the unchanged photo, on held-out mixtures and on held-out pairs."""
    lines = [
        f"- On {what}: PSNR gain {metrics[f'{prefix}/gain_psnr']:+.2f} dB over the unchanged photo, "
        f"{metrics[f'{prefix}/matched_gain_psnr']:+.2f} dB once both have the best gain and offset of each channel. "
        f"{metrics[f'{prefix}/harm_rate']:.0%} of the images became worse."
        for prefix, what in (("val", "mixtures"), ("pairs", "real pairs of held-out scenes"))
        if {f"{prefix}/{name}" for name in ("gain_psnr", "matched_gain_psnr", "harm_rate")} <= metrics.keys()
    ]
    return ["", *lines] if lines else []


def _files(files: Mapping[str, Mapping[str, float]]) -> list[str]:
    sizes = list(dict.fromkeys(size for differences in files.values() for size in differences))
    return [
        "| file | " + " | ".join(sizes) + " |",
        "|---|" + "---:|" * len(sizes),
        *(
            f"| `{name}` | " + " | ".join(f"{differences[size]:.1e}" for size in sizes) + " |"
            for name, differences in files.items()
        ),
    ]


def _licence(licence: str | None) -> str:
    code = "crrn, the software, is under the MIT licence."
    if licence:
        return f"The weights: {licence}. {code}"
    return f"The licence of the weights is not stated; the photos that they were trained on may limit it. {code}"


def _first_weights(run: dict[str, Any]) -> str:
    """Which parts began with the weights of a file, without its path."""
    sources = run.get("init") or {}
    texts = [
        f"{part} of {'ImageNet' if given['source'] == 'imagenet' else 'a file'} (digest {given['digest']})"
        for part, given in sources.items()
    ]
    return ", ".join([*texts, "the rest random"] if texts and "net" not in sources else texts) or "random"


def _values(node: Any) -> Any:
    """A config node without paths: its target's last name and its plain values."""
    if not isinstance(node, dict):
        return node
    values = {key: _values(value) for key, value in node.items() if not str(key).startswith("_") and value is not None}
    name = str(node.get("_target_", "")).rpartition(".")[2]
    return {name: values} if name else values


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} ({_text(inner)})" if isinstance(inner, dict) else f"{key} {_text(inner)}"
            for key, inner in value.items()
        )
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
