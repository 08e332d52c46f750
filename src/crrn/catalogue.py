"""The models that come with crrn: the networks that it ships and the methods without training.

Imports no torch.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from crrn.errors import CheckpointError
from crrn.plugins import installed_removers

FOLDER = Path(__file__).parent / "weights"
"""Where the shipped networks lie, as src/crrn/weights/README.md describes."""

FALLBACK = "yl19"
"""The default where no network ships: it is fast and needs no weights."""

METHODS = {
    "yl19": "Classical method, fast: removes weak edges. For faint reflections",
    "nr17": "Classical method: removes weak edges and keeps fine texture. For faint reflections; slow on large photos",
    "lb14": "Classical method: removes what is out of focus. For blurred reflections; may change the brightness",
    "ws16": "Classical method: keeps what is in focus. For blurred reflections; slow on large photos",
}
"""crrn's methods without training, by the name of their solver, and a line about each."""


class Model(NamedTuple):
    """One way to remove reflections.

    Attributes:
        name: what `crrn.remove(model=NAME)` and `remover=NAME` take.
        about: one line for a person.
        megabytes: of its weights; 0 for methods without training.
        default: whether it is used where none is named.
    """

    name: str
    about: str
    megabytes: float
    default: bool


@dataclass(frozen=True)
class Shipped:
    """A network that crrn ships.

    Attributes:
        name, about, default: as of `Model`.
        weights: the file.
        sha256: of the file, in hexadecimal digits.
    """

    name: str
    about: str
    default: bool
    weights: Path
    sha256: str


def models(folder: Path | None = None) -> list[Model]:
    """All models: the networks that ship, the default first, then the methods without training, crrn's and those of
    installed packages.

    Args:
        folder: of the networks; None is the package's own.
    """
    networks = sorted(shipped(folder).values(), key=lambda one: (not one.default, one.name))
    default = default_model(folder)
    return [
        *(Model(one.name, one.about, _megabytes(one.weights), one.name == default) for one in networks),
        *(Model(name, about, 0, name == default) for name, about in untrained_methods(folder).items()),
    ]


def untrained_methods(folder: Path | None = None) -> dict[str, str]:
    """The methods without training, crrn's and those of installed packages, and a line about each."""
    taken = {*shipped(folder), *METHODS}
    packages = {
        name: f"A method of the package {entry.dist.name if entry.dist else entry.module}"
        for name, entry in installed_removers().items()
        if name not in taken
    }
    return METHODS | packages


def default_model(folder: Path | None = None) -> str:
    """The name of the network that ships as the default; YL19 where none does."""
    return next((one.name for one in shipped(folder).values() if one.default), FALLBACK)


def shipped(folder: Path | None = None) -> dict[str, Shipped]:
    """The networks that ship, by name.

    Raises:
        CheckpointError: the description of one cannot be read.
    """
    found = {}
    for path in sorted((folder or FOLDER).glob("*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            weights = path.with_name(str(entry["file"]))
            one = Shipped(str(entry["name"]), str(entry["about"]), entry["default"] is True, weights, entry["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} does not describe a network ({error!r}): install crrn again.") from error
        found[one.name] = one
    return found


def verified(network: Shipped) -> Path:
    """A shipped network's file, once its digest is found right.

    Raises:
        CheckpointError: the file is missing or not what was shipped.
    """
    try:
        digest = hashlib.sha256(network.weights.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(
            f"The network {network.name} is not where crrn ships it ({network.weights}): install crrn again."
        ) from error
    if digest != network.sha256:
        raise CheckpointError(f"{network.weights} is damaged: its digest is not the shipped one. Install crrn again.")
    return network.weights


def suggestion(name: str, known: Sequence[str]) -> str:
    """ " Did you mean X?" where a name is close to a known one, else nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _megabytes(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 1) if path.is_file() else 0.0
