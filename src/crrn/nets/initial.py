"""The weights that a network begins its training with: any part of it from any file that holds that part."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crrn.catalogue import shipped, suggestion, verified
from crrn.errors import CheckpointError, ConfigError, WeightsError
from crrn.files import file_digest
from crrn.nets.prediction import Prediction
from crrn.nets.record import find_record
from crrn.nets.state import mismatches
from crrn.nets.vgg import CHANNELS, VGG16, imagenet_file
from crrn.nets.weights import network_prediction, read_weights, skeleton

WHOLE = "net"
"""The name of the whole network among the parts."""

IMAGENET = "imagenet"
"""The source that stands for ImageNet's weights of VGG16, and as the whole setting for all VGG16 encoders."""

Init = str | Mapping[str, str | os.PathLike[str] | None] | None

log = logging.getLogger("crrn")


@dataclass(frozen=True)
class Loaded:
    """What was loaded.

    Attributes:
        state: the weights, by their names in the network.
        sources: for each part its file and the file's digest.
        prediction: the prediction settings of the file that gives the whole network; the defaults where none does, or
            the file has none.
    """

    state: dict[str, Tensor]
    sources: dict[str, dict[str, str]]
    prediction: Prediction


def load_initial(network: nn.Module, init: Init) -> Loaded:
    """Put weights into a network before its training.

    Args:
        network: any network.
        init: the source of each part. A part is "net" or the name of a module, such as "gin" or "iin.encoder". A source
            is the name of a network that ships, a file (.safetensors, .ckpt, or .pth of a state dict), or a run
            directory. For a VGG16 encoder it can be "imagenet". The weights of a part replace those of the part around
            it. ImageNet's weights are used only where no file gives any, and are downloaded only then. "imagenet" alone
            means all VGG16 encoders; None loads nothing.

    Returns:
        What was loaded, already in the network. The rest keeps the weights that it has.

    Raises:
        ConfigError: the network has no such part.
        WeightsError: a file is missing, is unreadable, or does not hold the part's weights.
    """
    given = parts_of(network, init)
    state: dict[str, Tensor] = {}
    sources: dict[str, dict[str, str]] = {}
    prediction = Prediction()
    own = {part: names(network, part) for part in given}
    for part in sorted((part for part in given if given[part] != IMAGENET), key=lambda part: len(own[part])):
        inner = {name for other in given if own[other] < own[part] for name in own[other]}
        path = file_of(part, given[part])
        # The widest part comes last, and does not touch what a part inside it has given.
        state = {**_weights(network, part, path, inner), **state}
        sources[part] = {"source": given[part], "digest": file_digest(path)}
        if part == WHOLE:
            prediction = _prediction(path)
    for part in (part for part in given if given[part] == IMAGENET):
        if not own[part] <= state.keys():
            if network.get_submodule(part).channels != list(CHANNELS):
                raise WeightsError(
                    f"init={{{part}: imagenet}} fits an encoder of width 1 only: set net.encoder_width=1, or init=null "
                    "for random weights"
                )
            path = imagenet_file()
            state = {**_weights(network, part, path, set()), **state}
            sources[part] = {"source": IMAGENET, "digest": file_digest(path)}
    network.load_state_dict(state, strict=False)  # each part was checked
    for name, module in network.named_modules():
        if isinstance(module, VGG16) and not names(network, name) & state.keys():
            log.warning("the VGG16 encoder %s starts from random weights (init={%s: imagenet} is better)", name, name)
    return Loaded(state, sources, prediction)


def parts_of(network: nn.Module, init: Init) -> dict[str, str]:
    """The source of each part; errors as of `load_initial`."""
    if init is None:
        return {}
    if isinstance(init, str):
        if init != IMAGENET:
            raise ConfigError(f"init={init} does not say what to load: write init={{net: {init}}}, or a part's name")
        return {name: IMAGENET for name, module in network.named_modules() if isinstance(module, VGG16)}
    given = {str(part): os.fspath(source) for part, source in init.items() if source is not None}
    modules = dict(network.named_modules())
    for part, source in given.items():
        if part != WHOLE and part not in modules:
            own = [name for name in modules if name and "." not in name]
            raise ConfigError(
                f"init names the part {part}, which the network does not have: give net, {', '.join(own)}, or the name "
                "of a module in them"
            )
        if source == IMAGENET and not isinstance(modules.get(part), VGG16):
            encoders = [name for name, module in modules.items() if isinstance(module, VGG16)]
            raise ConfigError(
                f"init={{{part}: imagenet}} is for VGG16 encoders only: "
                + (f"write init={{{encoders[0]}: imagenet}}" if encoders else "this network has none, set init=null")
            )
    return given


def names(network: nn.Module, part: str) -> set[str]:
    """Names of the weights of a part, as the network calls them."""
    return {name for name in network.state_dict() if part == WHOLE or name.startswith(f"{part}.")}


def file_of(part: str, source: str) -> Path:
    """The file that a source means: that of a shipped network, itself, or the weights of a run directory.

    Raises:
        WeightsError: it is missing.
        CheckpointError: the shipped network is damaged.
    """
    networks = shipped()
    if source in networks:
        return verified(networks[source])
    path = Path(source)
    path = path / "weights.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise WeightsError(
            f"init={{{part}: {source}}}: {path} is missing; give {', '.join(networks)}, a .safetensors, .ckpt or .pth "
            f"file, or a run directory.{suggestion(source, [*networks])}"
        )
    return path


def _weights(network: nn.Module, part: str, path: Path, inner: set[str]) -> dict[str, Tensor]:
    """The weights of a part in a file, by their names in the network.

    Args:
        inner: names in it that other parts give; the file need not have them.
    """
    setting = f"init={{{part}: {path}}}"
    prefix = "" if part == WHOLE else f"{part}."
    own = {name.removeprefix(prefix): value for name, value in network.state_dict().items() if name.startswith(prefix)}
    optional = {name.removeprefix(prefix) for name in inner}
    needed = {name: own[name] for name in own if name not in optional}
    try:
        record, state = read_weights(path)
    except CheckpointError as error:
        raise WeightsError(f"{setting}: {error}") from error
    module = network if part == WHOLE else network.get_submodule(part)
    if isinstance(module, VGG16):
        state = module.named_as_here(state)

    starts = _starts(part, needed, state)
    found = {start: _below(state, start, own, optional) for start in starts}
    if not found:
        some = ", ".join(sorted(state)[:2])
        raise WeightsError(f"{setting}: the file holds no {part}, but weights such as {some or 'none'}")
    wrongs = {
        start: mismatches({name: own[name] for name in own if name in needed or name in found[start]}, found[start])
        for start in starts
    }
    start = min(starts, key=lambda start: len(wrongs[start]))
    _compare_settings(setting, module, record, start)
    wrong = wrongs[start]
    if wrong:
        raise WeightsError(f"{setting}: {_difference(needed, found[start], wrong, prefix)}")
    return {f"{prefix}{name}": value.to(own[name].dtype).contiguous() for name, value in found[start].items()}


def _prediction(path: Path) -> Prediction:
    """The prediction settings in a file; the defaults of a state dict, which has no record."""
    try:
        return network_prediction(path)
    except CheckpointError:
        return Prediction()


def _starts(part: str, needed: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What the names of a part's weights may begin with in a file: as in the network, else whatever ends alike."""
    if part == WHOLE:
        return [""]
    if any(name.startswith(f"{part}.") for name in state):
        return [f"{part}."]
    return sorted({name.removesuffix(own) for own in needed for name in state if f".{name}".endswith(f".{own}")})


def _below(state: Mapping[str, Tensor], start: str, own: Mapping[str, Tensor], optional: set[str]) -> dict[str, Tensor]:
    """The weights below a name, without those of other parts that do not fit."""
    below = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
    return {name: value for name, value in below.items() if name not in optional or value.shape == own[name].shape}


def _difference(needed: Mapping[str, Tensor], found: Mapping[str, Tensor], wrong: list[str], prefix: str) -> str:
    """What differs first, of weights that do not fit."""
    first = wrong[0]
    count = f"{len(wrong)} of {len(needed)} weights do not fit, first {prefix}{first}"
    if first not in found:
        group = (prefix + first).rpartition(".")[0]
        return f"{count}, which the file lacks; give another file for a part such as {group}"
    if first not in needed:
        return f"{count}, which the network does not have"
    return (
        f"{count}, which has the shape {tuple(found[first].shape)} in the file and {tuple(needed[first].shape)} in the "
        "network"
    )


def _compare_settings(setting: str, module: nn.Module, record: dict[str, Any] | None, start: str) -> None:
    """Refuses weights of a part with other settings, which names and shapes alone do not always tell."""
    own = find_record(module)
    if own is None or record is None:
        return
    try:
        theirs = skeleton(record).get_submodule(start.removesuffix("."))
    except (CheckpointError, AttributeError):
        return  # the names and shapes remain
    other = find_record(theirs) or own
    differing = [name for name in {**own, **other} if own.get(name) != other.get(name)]
    if differing:
        name = differing[0]
        raise WeightsError(
            f"{setting}: the file was trained with {name}={other.get(name)}, the run has {name}={own.get(name)}; set "
            f"net.{name}={other.get(name)}, or give another file"
        )


def is_given(init: Init, part: str) -> bool:
    """Whether a file gives the weights of exactly this part."""
    return isinstance(init, Mapping) and init.get(part) not in (None, IMAGENET)


def load_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put the weights of `Loaded.state` into a network again."""
    with torch.no_grad():
        network.load_state_dict(dict(state), strict=False)
