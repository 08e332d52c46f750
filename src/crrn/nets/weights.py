"""Networks in files: a safetensors file rebuilds its network alone; a training checkpoint is read the same way."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from crrn.errors import CheckpointError, ConfigError
from crrn.files import write_atomically
from crrn.nets.build import build_network
from crrn.nets.int8 import from_int8, to_int8
from crrn.nets.prediction import Prediction, prediction_from, prediction_of, set_prediction
from crrn.nets.record import describe, record_of, upgraded
from crrn.nets.state import mismatches

METADATA = "crrn"
"""Key of our entry, {"net": record, "prediction": settings}, in a safetensors file's metadata (as JSON) and in a
training checkpoint."""

PREFIX = "net."
"""Prefix of the network's weights in a training checkpoint's state dict."""


def save_network(network: nn.Module, path: str | os.PathLike[str], prediction: Prediction | None = None) -> None:
    """Write a network's weights, and the record that rebuilds it, as one safetensors file.

    The file appears whole or not at all.

    Args:
        network: the network.
        path: the file.
        prediction: the settings that prediction uses; None: the network's own.

    Raises:
        ConfigError: the network has no record, see `crrn.nets.record_of`.
        RunError: the place cannot be written to.
    """
    content = network_bytes(network, prediction=prediction)
    with write_atomically(Path(path)) as file:
        file.write(content)


def network_bytes(
    network: nn.Module, precision: torch.dtype | None = None, prediction: Prediction | None = None
) -> bytes:
    """What `save_network` writes.

    Args:
        network: the network.
        precision: how the convolutions' weights are stored: a floating type such as torch.float16, or torch.int8 with a
            scale for each output channel; None keeps them as they are. Biases, statistics and constants, few and
            delicate, are always kept.
        prediction: the settings that prediction uses; None: the network's own.
    """
    state = network.state_dict()
    if precision == torch.int8:
        state = to_int8(network, state)
    elif precision is not None:
        state = {name: value.to(precision if value.dim() == 4 else None) for name, value in state.items()}
    record: dict[str, Any] = {"net": record_of(network), "prediction": (prediction or prediction_of(network)).record()}
    if precision is not None:
        record["precision"] = str(precision).removeprefix("torch.")
    return save({name: value.contiguous() for name, value in state.items()}, {METADATA: json.dumps(record)})


def load_network(
    path: str | os.PathLike[str], device: str | torch.device = "cpu", plugins: Collection[str] = ()
) -> nn.Module:
    """Rebuild a network from its file alone.

    Args:
        path: a file of `save_network`, or a training checkpoint (.ckpt). Neither can run code, but a file names the
            network's class, whose module is imported: crrn's own, or one of the packages in `crrn.plugins`.
        device: where the network is wanted.
        plugins: packages that the file may name too.

    Returns:
        The network in evaluation mode, in float32 however the file stores it. Its `prediction` holds the
        file's prediction settings.

    Raises:
        CheckpointError: the file is missing, incomplete or of another kind; it names a class that cannot or must not be
            imported; or its weights do not fit its network.
    """
    path = Path(path)
    record, prediction, state = _read(path)
    network = skeleton(record, path, plugins)
    wrong = mismatches(network.state_dict(), state)
    if wrong:
        raise CheckpointError(
            f"{path} does not hold the weights of its {describe(record)}: "
            f"{len(wrong)} weights differ in name or shape, {wrong[0]!r} first; save the network with its own record"
        )
    network.load_state_dict(state, assign=True)
    empty = [name for name, buffer in network.named_buffers() if buffer.is_meta]
    if empty:
        raise CheckpointError(
            f"{path} does not hold {empty[0]} of its {describe(record)}: make that buffer persistent, or leave "
            "builds_on_meta out of the class."
        )
    set_prediction(network, prediction)
    return network.to(device, torch.float32).eval()


def network_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The record {"_target_": ..., ...} that a file gives its network; CheckpointError where it has none."""
    return _read(Path(path), weights=False)[0]


def network_prediction(path: str | os.PathLike[str]) -> Prediction:
    """The prediction settings of the network in a file; CheckpointError as in `load_network`."""
    return _read(Path(path), weights=False)[1]


def read_weights(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """What any file of weights holds: the record of its network, None where it has none, and the weights.

    Args:
        path: a file of `save_network`, a training checkpoint, or a state dict as .safetensors or by ``torch.save``.

    Raises:
        CheckpointError: the file is torn or of another kind.
    """
    record, state = (_read_safetensors if path.suffix == ".safetensors" else _read_pickle)(path)
    try:
        return upgraded(dict(record["net"])), from_int8(state)
    except (KeyError, TypeError, ValueError):
        return None, state


def _read(path: Path, weights: bool = True) -> tuple[dict[str, Any], Prediction, dict[str, Tensor]]:
    """A file's record, its prediction settings and, when asked for, its weights."""
    if not path.is_file():
        raise CheckpointError(
            f"the checkpoint {path} is missing: give the path of a .safetensors or .ckpt file that crrn wrote"
        )
    record, state = _read_pickle(path) if path.suffix == ".ckpt" else _read_safetensors(path, weights)
    try:
        return upgraded(dict(record["net"])), prediction_from(record), from_int8(state)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} was not written by crrn: it does not say which network it holds") from error
    except ConfigError as error:
        raise CheckpointError(f"{path} holds prediction settings that this crrn does not know: {error}") from error


def _read_safetensors(path: Path, weights: bool = True) -> tuple[Any, dict[str, Tensor]]:
    """Our entry, None where there is none, and the weights."""
    try:
        with safe_open(path, framework="pt") as file:
            entry = (file.metadata() or {}).get(METADATA, "null")
            names = file.keys() if weights else []
            state = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())  # it quotes what the file holds
        raise CheckpointError(
            f"{path} is not a safetensors file, or a torn one ({reason}): copy or save it again"
        ) from error
    try:
        return json.loads(entry), state
    except (ValueError, RecursionError):
        return None, state


def _read_pickle(path: Path) -> tuple[Any, dict[str, Tensor]]:
    """Our entry, None where there is none, and the weights, of a training checkpoint or of a bare state dict."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on pickles that are none of its own: they are refused
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn or hostile file can fail anywhere in the reader
        raise CheckpointError(
            f"{path} cannot be read as weights or as a training checkpoint ({type(error).__name__}): "
            "it is torn, or holds objects other than weights and plain values, which crrn does not load"
        ) from error
    if not isinstance(checkpoint, dict):
        return None, {}
    state = checkpoint.get("state_dict", checkpoint)
    entries = state.items() if isinstance(state, dict) else ()
    state = {str(name): value for name, value in entries if isinstance(value, Tensor) and _plain(value)}
    if METADATA not in checkpoint:
        return None, state
    return checkpoint[METADATA], {
        name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)
    }


def _plain(value: Tensor) -> bool:
    """Whether it is a tensor of numbers, one beside the other."""
    return value.layout == torch.strided and not value.is_complex() and not value.is_quantized


def skeleton(record: dict[str, Any], path: Path | str = "the file", plugins: Collection[str] = ()) -> nn.Module:
    """The network of a record, without memory for its weights where its class allows that; CheckpointError, which names
    the path, where it cannot be built.
    """
    try:
        return build_network(record, plugins, meta=True)
    except ConfigError as error:
        reason = " ".join(str(error).split())  # it quotes what the file holds
        raise CheckpointError(f"{path} names a network that cannot be built: {reason}") from error
