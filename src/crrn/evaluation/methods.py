"""Those that are compared: removers of this package, and folders of another tool's outputs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crrn.data.benchmarks import Case
from crrn.data.photos import read_image
from crrn.data.sources import photos_below
from crrn.errors import ConfigError, DataError
from crrn.image.picture import Pixels, to_tensor
from crrn.inference.predictor import Predictor
from crrn.layers import Layers
from crrn.metrics import Protocol
from crrn.nets import Prediction, estimates_of
from crrn.removers import RemoverName, is_untrained, load_remover, remover_digest, remover_label, remover_prediction

FOLDER = "folder:"
IDENTITY = "identity"
"""Name of the row that returns its input; it is always the first."""


@dataclass(frozen=True)
class Method:
    """One row of a table.

    Attributes:
        label: what tables call it; also its files' name.
        name: what `crrn.removers.load_remover` takes, or "folder:DIR".
        digest: changes with the weights, the prediction settings or the outputs.
        prediction: the strength, and the working size for protocols without a fixed size; None for a folder.
    """

    label: str
    name: RemoverName
    digest: str
    prediction: Prediction | None = None

    def open(self, device: str | torch.device, memory: float | str = "auto") -> Outputs:
        """Loads it; the memory is a limit as of `crrn.inference.predictor.Predictor`."""
        if self.prediction is None:
            return FolderOutputs(Path(str(self.name).removeprefix(FOLDER)))
        return ModuleOutputs(load_remover(self.name, device), device, self.prediction, memory)


class Outputs:
    """What the evaluation calls: the layers of one case."""

    def layers(self, case: Case, mixture: Tensor, photo: Pixels, protocol: Protocol) -> Layers:
        """The layers of a case's mixture (1, 3, H, W), which the protocol made of the photo."""
        raise NotImplementedError


class ModuleOutputs(Outputs):
    """A network or a solver, at its working size unless the protocol has a fixed size.

    Args:
        module: in evaluation mode, on the device.
        device: where it runs.
        prediction: its working size and strength.
        memory: the limit, as of `Predictor`. A network on an image that does not fit goes in tiles. A solver, which
            gives other results in tiles, goes whole or raises a DataError.

    Raises:
        ConfigError: the module estimates no background.
    """

    def __init__(
        self, module: nn.Module, device: str | torch.device, prediction: Prediction, memory: float | str = "auto"
    ) -> None:
        layers = [layer for layer in ("background", "reflection") if layer in estimates_of(module)]
        if "background" not in layers:
            raise ConfigError("This remover estimates no background, only its gradient: evaluate the whole network.")
        strength = prediction.strength
        self.own = Predictor(
            module,
            memory=memory,
            layers=layers,
            working_size=prediction.working_size,
            strength=strength,
            refuse=True,
            device=device,
        )
        self.native = self.own.but(layers=layers, working_size="native", strength=strength)

    def layers(self, case: Case, mixture: Tensor, photo: Pixels, protocol: Protocol) -> Layers:
        predictor = self.native if protocol.fixed_size else self.own
        layers = predictor(mixture)
        if predictor.device.type == "cuda":
            torch.cuda.synchronize()
        return layers


class FolderOutputs(Outputs):
    """Another tool's estimates of the background, found by the case's name: DIR/CASE.png, or DIR/NAME.png with its
    last part.

    An output of the original photo's size is resized as the protocol resizes the ground truth; any other size is an
    error.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(
                f"There is no folder of outputs at {folder.absolute()}; give folder:DIR with one image a case."
            )
        self.folder = folder
        self.by_name: dict[str, list[Path]] = {}
        for path in photos_below(folder):
            relative = path.relative_to(folder.resolve()).with_suffix("")
            for key in {relative.as_posix(), relative.name}:
                self.by_name.setdefault(key, []).append(path)

    def layers(self, case: Case, mixture: Tensor, photo: Pixels, protocol: Protocol) -> Layers:
        for key in (case.name, Path(case.name).name, case.mixture.stem):
            found = self.by_name.get(key, [])
            if len(found) == 1:
                picture = read_image(found[0])
                output = to_tensor(protocol.fit(picture) if picture.shape == photo.shape else picture)
                if output.shape != mixture.shape:
                    height, width = picture.shape[:2]
                    raise DataError(
                        f"{found[0]} is {height}x{width}, and the case is evaluated at "
                        f"{mixture.shape[-2]}x{mixture.shape[-1]}: "
                        "make the outputs at the photo's own size."
                    )
                return Layers(background=output)
            if len(found) > 1:
                raise DataError(
                    f"{self.folder} holds {len(found)} outputs named {key!r}: name them by the case, {case.name}.png."
                )
        raise DataError(f"{self.folder} holds no output for the case {case.name}: put it there as {case.name}.png.")


def methods(
    removers: Sequence[RemoverName] | Mapping[str, RemoverName],
    working_size: int | str | None = "auto",
    strength: float | None = None,
) -> list[Method]:
    """The rows in their order, the identity first, always.

    Args:
        removers: names, or names by label.
        working_size, strength: of all networks, as of `crrn.nets.Prediction.chosen`. The solvers work on the image
            itself, at full strength.

    Raises:
        ConfigError: two rows have one label, a setting is out of range, or a name or a solver's option is unknown.
        CheckpointError: a checkpoint is missing or cannot be read.
    """
    if isinstance(removers, str):
        raise ConfigError(f"removers={removers} is not a list: give removers=[{removers}].")
    pairs = list(removers.items()) if isinstance(removers, Mapping) else [(_label(name), name) for name in removers]
    if not any(name == IDENTITY for _, name in pairs):
        pairs.insert(0, (IDENTITY, IDENTITY))
    labels = [label for label, _ in pairs]
    doubled = sorted({label for label in labels if labels.count(label) > 1})
    if doubled:
        raise ConfigError(f"Two removers would be called {doubled[0]}: give labels, as in removers={{LABEL:PATH,...}}.")
    for _, name in pairs:
        if isinstance(name, Mapping):
            load_remover(name)  # a wrong option is said now, not after the rows before it
    Prediction().chosen(working_size, strength)  # a wrong setting is said whatever the rows are
    return [
        _method(label, name, working_size, strength)
        for label, name in sorted(pairs, key=lambda pair: pair[1] != IDENTITY)
    ]


def file_name(label: str) -> str:
    """A label as a file's name."""
    safe = re.sub(r"[^A-Za-z0-9=.,_-]+", "_", label)
    return safe if safe == label else f"{safe}-{hashlib.blake2b(label.encode(), digest_size=2).hexdigest()}"


def _method(label: str, name: RemoverName, working_size: int | str | None, strength: float | None) -> Method:
    if isinstance(name, str) and name.startswith(FOLDER):
        return Method(label, name, _digest(name))
    own = remover_prediction(name)
    prediction = own if is_untrained(name) else own.chosen(working_size, strength)
    digest = _digest(name)
    if prediction != own:
        digest = hashlib.blake2b(f"{digest} {prediction}".encode(), digest_size=8).hexdigest()
    return Method(label, name, digest, prediction)


def _label(name: RemoverName) -> str:
    if isinstance(name, str) and name.startswith(FOLDER):
        return Path(name.removeprefix(FOLDER)).name
    return remover_label(name)


def _digest(name: Any) -> str:
    if isinstance(name, str) and name.startswith(FOLDER):
        digest = hashlib.blake2b(digest_size=8)
        folder = Path(name.removeprefix(FOLDER))
        for path in photos_below(folder) if folder.is_dir() else ():
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()
    return remover_digest(name)
