"""What the page does with a photo, without the page."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image

from crrn.errors import ConfigError, CrrnError
from crrn.files import write_atomically
from crrn.inference.photo import Photo, encode, read_photo
from crrn.inference.predictor import Predictor
from crrn.layers import Layers
from crrn.removers import RemoverName, load_remover, remover_label

PREVIEW_SIDE = 1600
"""Pixels of the longer side that the page shows; the download is of the photo's own size."""

KEEP_SECONDS = 3600
"""Results stay for so long after they were made, as do Gradio's own copies."""


@dataclass(frozen=True)
class Result:
    """The files of one photo.

    Attributes:
        before, after: previews of the photo and of its background.
        reflection, gradient: previews of these layers; None where the remover does not estimate them.
        download: the background at full size, of the photo's own format.
        size: height and width.
        seconds: what the remover took.
    """

    before: Path
    after: Path
    reflection: Path | None
    gradient: Path | None
    download: Path
    size: tuple[int, int]
    seconds: float


class Studio:
    """The removers that are offered, and what is done to a photo.

    Args:
        removers: names as of `crrn.removers.load_remover`; the first is the page's choice.
        folder: where results are put.
        max_megapixels: larger photos are refused.
        device: where removers run.

    Raises:
        ConfigError, CheckpointError: a remover is unknown, named twice, cannot be loaded, or gives no background.
    """

    def __init__(
        self, removers: Sequence[RemoverName], folder: Path, max_megapixels: float, device: str | torch.device = "cpu"
    ) -> None:
        labels = [remover_label(name) for name in removers]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ConfigError(f"Two removers would be called {twice[0]}: leave one out, or rename its folder.")
        if not labels:
            raise ConfigError("No remover is given: removers=[runs/NAME], for example.")
        if not max_megapixels > 0:
            raise ConfigError(f"max_megapixels={max_megapixels} is no limit: give a positive number.")
        self.removers = dict(zip(labels, removers, strict=True))
        self.folder = folder
        self.max_megapixels = max_megapixels
        self.device = device
        self._predictor = lru_cache(maxsize=2)(self._open)
        for label in labels:
            self._predictor(label)

    def remove(self, path: Path, label: str, progress: Callable[[float], object] | None = None) -> Result:
        """Remove the reflection from a photo.

        Args:
            path: any file.
            label: one of `removers`.
            progress: called now and then with the fraction done.

        Raises:
            DataError: the file is no photo, or too large; messages call it by its name, without its folder.
            CrrnError: the remover is unknown or failed.
        """
        if label not in self.removers:
            raise ConfigError(f"There is no remover {label}: choose one of {', '.join(self.removers)}.")
        try:
            photo = read_photo(path, self.max_megapixels)
            began = time.perf_counter()
            layers = self._predictor(label)(photo.mixture(), progress)
            seconds = time.perf_counter() - began
        except CrrnError as error:
            raise type(error)(str(error).replace(str(path), path.name)) from error
        return self._written(photo, layers, path, seconds)

    def _open(self, label: str) -> Predictor:
        remover = load_remover(self.removers[label], self.device)
        if "background" not in getattr(remover, "estimates", ()):
            raise ConfigError(
                f"{label} estimates no background (a GiN alone gives a gradient): give the whole network."
            )
        return Predictor(remover)

    def _written(self, photo: Photo, layers: Layers, path: Path, seconds: float) -> Result:
        self._forget()
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        assert layers.background is not None
        background = photo.with_pixels(layers.background)
        download = folder / f"{path.stem}-background{path.suffix}"
        with write_atomically(download) as file:
            encode(file, background)
        return Result(
            before=preview(photo, folder / "before.webp"),
            after=preview(background, folder / "after.webp"),
            reflection=None
            if layers.reflection is None
            else preview(photo.with_pixels(layers.reflection), folder / "reflection.webp"),
            gradient=None
            if layers.gradient is None
            else preview(photo.with_pixels(layers.gradient), folder / "gradient.webp"),
            download=download,
            size=(photo.height, photo.width),
            seconds=seconds,
        )

    def _forget(self) -> None:
        for old in self.folder.iterdir():
            if time.time() - old.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(old, ignore_errors=True)


def preview(photo: Photo, path: Path) -> Path:
    """Write a photo for the page: 8 bits, at most `PREVIEW_SIDE` pixels a side, in its own colours, without alpha."""
    pixels = photo.pixels if photo.bits == 8 else (photo.pixels // 257).astype("uint8")
    picture = Image.fromarray(pixels).convert("RGB")
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    picture.save(path, "WEBP", quality=90, icc_profile=photo.icc if not photo.grey else None)
    return path
