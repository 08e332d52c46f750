"""Networks in folders and on the Hugging Face hub. Only safetensors and JSON are read: nothing that runs code."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from crrn.errors import CheckpointError, ConfigError, RunError
from crrn.files import write_atomically
from crrn.nets import load_network, record_of, save_network

if TYPE_CHECKING:
    from huggingface_hub import HfApi

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
"""A folder's files; `CONFIG` is for readers of the hub, the weights' file rebuilds the network alone."""


def save_pretrained(network: nn.Module, folder: str | os.PathLike[str]) -> Path:
    """Write a network into a folder that `from_pretrained` reads; gives the folder.

    Raises:
        RunError: the folder cannot be written to.
    """
    folder = Path(folder)
    save_network(network, folder / WEIGHTS)
    write_config(network, folder)
    return folder


def write_config(network: nn.Module, folder: Path) -> None:
    """Write `CONFIG`; errors as of `save_pretrained`."""
    with write_atomically(folder / CONFIG, "w") as file:
        json.dump({"library_name": "crrn", **record_of(network)}, file, indent=2)


def from_pretrained(
    name: str | os.PathLike[str],
    revision: str | None = None,
    device: str | torch.device = "cpu",
    plugins: Collection[str] = (),
) -> nn.Module:
    """The network in a folder, or on the Hugging Face hub.

    Args:
        name: a folder of `save_pretrained` or of ``crrn export format=safetensors``, a run directory, or a model on the
            hub, "OWNER/NAME". The hub's file `WEIGHTS` is downloaded once.
        revision: a branch, tag or commit on the hub.
        device: where the network is wanted.
        plugins: packages whose networks are loaded too, as of `crrn.nets.load_network`.

    Returns:
        The network in evaluation mode.

    Raises:
        CheckpointError: nothing is there, the hub cannot be reached, or the file is not one of crrn's.
        ConfigError: the hub's client is not installed.
    """
    folder = Path(name)
    if folder.is_dir():
        for weights in (WEIGHTS, "weights.safetensors"):
            if (folder / weights).is_file():
                return load_network(folder / weights, device, plugins)
        raise CheckpointError(f"The folder {folder} holds no {WEIGHTS}: export a network into it, or name its file.")
    if folder.is_file():
        return load_network(folder, device, plugins)
    repository = os.fspath(name)
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise CheckpointError(f"There is no folder {name}: give one, or a model on the hub as OWNER/NAME.")
    client = _client()
    try:
        path = client.hf_hub_download(repository, WEIGHTS, revision=revision)
    except Exception as error:  # offline, not found, not allowed, no such revision: the client has many errors
        raise CheckpointError(
            f"There is no folder {name}, and the hub does not give {WEIGHTS} of a model named so: {_first_line(error)}"
        ) from error
    return load_network(path, device, plugins)


def push_to_hub(folder: Path, files: Sequence[str], repository: str, private: bool = True) -> str:
    """Upload some of a folder's files as one commit; the repository is made if it is not there.

    Args:
        folder: where the files lie.
        files: their names; nothing else is uploaded.
        repository: "OWNER/NAME".
        private: whether a new repository can be seen only by its owner.

    Returns:
        The model's address.

    Raises:
        RunError: the hub refuses or cannot be reached.
        ConfigError: the hub's client is not installed.
    """
    client = _client()
    try:
        address = client.create_repo(repository, private=private, exist_ok=True)
        client.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=list(files), commit_message="Export of crrn"
        )
    except Exception as error:  # as above
        raise RunError(
            f"The hub did not take {repository}: {_first_line(error)} The files are in {folder}; log in with "
            "`hf auth login` and try again."
        ) from error
    return str(address)


def require_client() -> None:
    """Raises the ConfigError of `push_to_hub` where the hub's client is not installed."""
    _client()


def _client() -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise ConfigError("The hub needs huggingface_hub: pip install 'crrn[hub]'.") from error
    return HfApi()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") + "." if lines else f"{type(error).__name__}."
