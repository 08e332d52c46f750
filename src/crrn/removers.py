"""Finding a remover by what a person calls it: a solver's name or a checkpoint's path."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crrn.errors import ConfigError
from crrn.files import file_digest
from crrn.nets import Prediction, load_network, network_prediction
from crrn.solvers import SOLVERS

CHECKPOINT_SUFFIXES = (".safetensors", ".ckpt")

RemoverName = str | Mapping[str, Any]


def load_remover(name: RemoverName, device: str | torch.device = "cpu") -> nn.Module:
    """The remover, in evaluation mode on the device.

    Args:
        name: the name of a solver (`crrn.solvers.SOLVERS`), a checkpoint (.safetensors or .ckpt), or a run directory,
            whose weights.safetensors is taken; a solver with options is {"name": "lb14", "OPTION": VALUE, ...}.

    Raises:
        ConfigError: no solver has this name or these options.
        CheckpointError: the checkpoint is missing or cannot be read.
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
    return load_network(checkpoint_path(name), device)


def remover_prediction(name: RemoverName) -> Prediction:
    """A remover's prediction settings, without its weights being loaded; errors as of `load_remover`."""
    plain = _plain_name(name)
    return Prediction() if plain in SOLVERS else network_prediction(checkpoint_path(plain))


def checkpoint_path(name: str) -> Path:
    """The checkpoint that a path means; a run directory means the weights in it.

    Raises:
        ConfigError: it is neither.
    """
    path = Path(name)
    if path.is_dir() and (path / "run.json").exists():
        return path / "weights.safetensors"
    if path.suffix in CHECKPOINT_SUFFIXES:
        return path
    raise ConfigError(
        f"There is no remover {name!r}: give a checkpoint ({' or '.join(CHECKPOINT_SUFFIXES)}), a run directory, "
        f"or a solver's name ({', '.join(SOLVERS)})."
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
