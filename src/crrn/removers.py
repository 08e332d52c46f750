"""Finding a remover by what a person calls it: the name of a shipped network or of a solver, or a checkpoint's path."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crrn.catalogue import default_model, shipped, suggestion, verified
from crrn.errors import ConfigError
from crrn.files import file_digest
from crrn.nets import Prediction, load_network, network_prediction
from crrn.solvers import SOLVERS

CHECKPOINT_SUFFIXES = (".safetensors", ".ckpt")

RemoverName = str | Mapping[str, Any]


def load_remover(name: RemoverName, device: str | torch.device = "cpu", plugins: Collection[str] = ()) -> nn.Module:
    """The remover, in evaluation mode on the device.

    Args:
        name: the name of a network that crrn ships (`crrn.models`) or of a solver (`crrn.solvers.SOLVERS`), a
            checkpoint (.safetensors or .ckpt), or a run directory, whose weights.safetensors is taken; a solver with
            options is {"name": "lb14", "OPTION": VALUE, ...}.
        device: where it is wanted.
        plugins: packages whose networks are loaded too, as of `crrn.nets.load_network`.

    Raises:
        ConfigError: nothing has this name, or the solver has no such option.
        CheckpointError: the checkpoint is missing, damaged or cannot be read.
    """
    options = {key: value for key, value in name.items() if key != "name"} if isinstance(name, Mapping) else {}
    name = _plain_name(name)
    if name in SOLVERS:
        known = [option for option in inspect.signature(SOLVERS[name]).parameters if option != "progress"]
        unknown = [option for option in options if option not in known]
        if unknown:
            raise ConfigError(f"{name} has no option {unknown[0]}; it has {', '.join(known) or 'none'}.")
        try:
            return SOLVERS[name](**options).to(device).eval()
        except TypeError as error:
            raise ConfigError(f"The solver {name} cannot be made with {options}: {error}.") from error
    if options:
        raise ConfigError(f"{name} takes no options, as {', '.join(options)}: only solvers do ({', '.join(SOLVERS)}).")
    return load_network(checkpoint_path(name), device, plugins)


def load(
    name: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu", plugins: Collection[str] = ()
) -> nn.Module:
    """A trained network.

    Args:
        name: a checkpoint (.safetensors or .ckpt), a run directory, or a network that crrn ships; None is the default
            of `crrn.models`.
        device: where the network is wanted.
        plugins: packages whose networks are loaded too, beside crrn's and those of installed plug-ins.

    Returns:
        The network in evaluation mode, in float32. Networks of crrn go from a mixture (N, 3, H, W) in [0, 1] to its
        `Layers`.

    Raises:
        ConfigError: nothing has this name.
        CheckpointError: the file is missing, damaged or cannot be read.
    """
    return load_remover(default_model() if name is None else os.fspath(name), device, plugins)


def remover_prediction(name: RemoverName) -> Prediction:
    """A remover's prediction settings, without its weights being loaded; errors as of `load_remover`."""
    plain = _plain_name(name)
    return Prediction() if plain in SOLVERS else network_prediction(checkpoint_path(plain))


def checkpoint_path(name: str, folder: Path | None = None) -> Path:
    """The checkpoint that a name means: of a shipped network its file, of a run directory the weights in it.

    Args:
        name: a shipped network's name, a run directory, or a checkpoint's path.
        folder: of the shipped networks; None is the package's own.

    Raises:
        ConfigError: it is none of these.
        CheckpointError: the shipped network is damaged.
    """
    networks = shipped(folder)
    if name in networks:
        return verified(networks[name])
    path = Path(name)
    if path.is_dir() and (path / "run.json").exists():
        return path / "weights.safetensors"
    if path.suffix in CHECKPOINT_SUFFIXES:
        return path
    known = [*networks, *SOLVERS]
    raise ConfigError(
        f"There is no remover {name!r}: give one of {', '.join(known)}, a run directory, or a checkpoint "
        f"({' or '.join(CHECKPOINT_SUFFIXES)}).{suggestion(name, known)}"
    )


def _plain_name(name: RemoverName) -> str:
    """A name without its options."""
    if isinstance(name, Mapping) and "name" not in name:
        raise ConfigError(f"The remover {dict(name)} has no name: give its solver's, as in {{name:lb14,OPTION:VALUE}}.")
    return str(name["name"]) if isinstance(name, Mapping) else str(name)


def remover_label(name: RemoverName) -> str:
    """What tables call a remover: a solver's name with its options, or the run and stage that a checkpoint lies in."""
    if isinstance(name, Mapping):
        return " ".join([_plain_name(name), *(f"{key}={value}" for key, value in name.items() if key != "name")])
    if name in SOLVERS:
        return name
    path = Path(name)
    if path.is_dir() or path.suffix not in CHECKPOINT_SUFFIXES:
        return path.name
    in_stage = (path.parent.parent / "run.json").exists()
    run = path.parent.parent.name if in_stage else path.parent.name
    return run if path.stem in ("weights", "last", "best") and run else path.stem


def remover_digest(name: RemoverName) -> str:
    """16 hex digits that change with the remover: of a checkpoint's bytes, or of a solver's name and options."""
    if isinstance(name, str) and name not in SOLVERS:
        path = checkpoint_path(name)
        if path.is_file():
            return file_digest(path)
    said = repr(sorted(name.items()) if isinstance(name, Mapping) else name)
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def choose_device(name: str) -> str:
    """ "auto" is the GPU where there is one.

    Raises:
        ConfigError: a device that torch does not know or does not have.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device={name} cannot be used ({str(error).splitlines()[0]}): give auto, cpu or cuda."
        ) from error
    return name
