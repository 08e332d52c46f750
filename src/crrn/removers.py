"""Finding a remover by what a person calls it: a shipped network, a checkpoint, or a method without training.

A method is one of crrn's solvers, one of an installed package (`crrn.plugins.REMOVERS`), or a class that a setting
names by `_target_`. No file names one.
"""

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
from crrn.errors import ConfigError, CrrnError, kind_of
from crrn.files import file_digest
from crrn.nets import Prediction, load_network, network_prediction
from crrn.plugins import installed_removers, named
from crrn.solvers import SOLVERS

CHECKPOINT_SUFFIXES = (".safetensors", ".ckpt")

RemoverName = str | Mapping[str, Any]
NAMES = ("name", "_target_")
"""The keys by which a mapping names its method; the others are its options."""


def load_remover(name: RemoverName, device: str | torch.device = "cpu", plugins: Collection[str] = ()) -> nn.Module:
    """The remover, in evaluation mode on the device.

    Args:
        name: the name of a network that crrn ships (`crrn.models`) or of a method (`crrn.solvers.SOLVERS`, or of an
            installed package), a checkpoint (.safetensors or .ckpt), or a run directory, whose weights.safetensors is
            taken. A method with options is {"name": "lb14", "OPTION": VALUE, ...}; a class of one's own is
            {"_target_": "mylab.removers.Inpaint", "OPTION": VALUE, ...}.
        device: where it is wanted.
        plugins: packages whose networks are loaded too, as of `crrn.nets.load_network`.

    Raises:
        ConfigError: nothing has this name, or the method has no such option or cannot be made.
        CheckpointError: the checkpoint is missing, damaged or cannot be read.
    """
    options = {key: value for key, value in name.items() if key not in NAMES} if isinstance(name, Mapping) else {}
    plain = _plain_name(name)
    if is_untrained(name):
        return _method(name, plain, options).to(device).eval()
    if options:
        raise ConfigError(f"{plain} takes no options, as {', '.join(options)}: only solvers do ({', '.join(SOLVERS)}).")
    return load_network(checkpoint_path(plain), device, plugins)


def is_untrained(name: RemoverName) -> bool:
    """Whether a name is that of a method without training."""
    if isinstance(name, Mapping) and "_target_" in name:
        return True
    plain = _plain_name(name)
    return plain in SOLVERS or (plain in installed_removers() and plain not in shipped())


def _method(name: RemoverName, plain: str, options: Mapping[str, Any]) -> nn.Module:
    """A method with its options, checked."""
    make: Any
    if isinstance(name, Mapping) and "_target_" in name:
        make = named("The remover _target_", plain, "mylab.removers.Inpaint")
    elif plain in SOLVERS:
        make = SOLVERS[plain]
    else:
        try:
            make = installed_removers()[plain].load()
        except Exception as error:  # a package's own code can fail in any way
            raise ConfigError(f"The remover {plain} of an installed package cannot be imported ({error!r}).") from error
    parameters = inspect.signature(make).parameters
    known = [option for option in parameters if option != "progress"]
    unknown = [option for option in options if option not in known]
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        raise ConfigError(f"{plain} has no option {unknown[0]}; it has {', '.join(known) or 'none'}.")
    try:
        method = make(**options)
    except CrrnError:
        raise
    except Exception as error:
        raise ConfigError(f"The solver {plain} cannot be made with {dict(options)}: {error}.") from error
    if not isinstance(method, nn.Module):
        raise ConfigError(
            f"{plain} gives {kind_of(method)}: a remover extends torch.nn.Module, and its forward pass takes a "
            "mixture and returns its background."
        )
    return method


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
    return Prediction() if is_untrained(name) else network_prediction(checkpoint_path(_plain_name(name)))


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
    known = [*networks, *SOLVERS, *installed_removers()]
    raise ConfigError(
        f"There is no remover {name!r}: give one of {', '.join(known)}, a run directory, or a checkpoint "
        f"({' or '.join(CHECKPOINT_SUFFIXES)}).{suggestion(name, known)}"
    )


def _plain_name(name: RemoverName) -> str:
    """A name without its options; of a class, its full name."""
    if not isinstance(name, Mapping):
        return str(name)
    found = [str(name[key]) for key in NAMES if key in name]
    if len(found) != 1:
        raise ConfigError(
            f"The remover {dict(name)} has no name, or two: give {{name:lb14,OPTION:VALUE}}, or "
            "{_target_:mylab.removers.Inpaint}."
        )
    return found[0]


def remover_label(name: RemoverName) -> str:
    """What tables call a remover: a method's name with its options, or the run and stage that a checkpoint lies in."""
    if isinstance(name, Mapping):
        title = _plain_name(name).rpartition(".")[2]
        return " ".join([title, *(f"{key}={value}" for key, value in name.items() if key not in NAMES)])
    if is_untrained(name):
        return name
    path = Path(name)
    if path.is_dir() or path.suffix not in CHECKPOINT_SUFFIXES:
        return path.name
    in_stage = (path.parent.parent / "run.json").exists()
    run = path.parent.parent.name if in_stage else path.parent.name
    return run if path.stem in ("weights", "last", "best") and run else path.stem


def remover_digest(name: RemoverName) -> str:
    """16 hex digits that change with the remover: of a checkpoint's bytes, or of a method's name, options and package's
    version."""
    if not is_untrained(name):
        path = checkpoint_path(_plain_name(name))
        if path.is_file():
            return file_digest(path)
    said = repr(sorted(name.items()) if isinstance(name, Mapping) else name)
    package = getattr(installed_removers().get(_plain_name(name)), "dist", None)
    said += "" if package is None else f" {package.name} {package.version}"
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def choose_device(name: str) -> str:
    """ "auto" is the GPU where there is one. Of the processes that ``torchrun`` started on a machine with several GPUs,
    each takes its own.

    Raises:
        ConfigError: a device that torch does not know or does not have.
    """
    local = os.environ.get("LOCAL_RANK", "")
    if name in ("auto", "cuda") and local.isdigit() and torch.cuda.device_count():
        return f"cuda:{int(local) % torch.cuda.device_count()}"
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device={name} cannot be used ({str(error).splitlines()[0]}): give auto, cpu or cuda."
        ) from error
    return name
