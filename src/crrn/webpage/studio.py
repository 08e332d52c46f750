"""What the page does with photos, without the page."""

from __future__ import annotations

import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from crrn.catalogue import models
from crrn.errors import ConfigError, CrrnError, DataError
from crrn.files import write_atomically
from crrn.image.working_size import at_strength
from crrn.inference.photo import Photo, encode, read_photo
from crrn.inference.predictor import Predictor
from crrn.nets import estimates_of, prediction_of
from crrn.removers import RemoverName, is_untrained, load_remover, remover_label

PREVIEW_SIDE = 1600
"""Pixels of the longer side that the page shows; the download is of the photo's own size."""

KEEP_SECONDS = 3600
"""Results stay for so long after they were made, as do Gradio's own copies."""

MOST_BRIGHTENED = 8.0
"""By so much a faint reflection is brightened at most before it is shown."""

_SOURCE, _ESTIMATE = "source", "estimate.npy"


@dataclass(frozen=True)
class Result:
    """The files of one photo.

    Attributes:
        folder: of all of them.
        before, after: previews of the photo and of its background.
        reflection, gradient: previews of these layers; None where the remover does not estimate them.
        brightened: by how much the reflection's preview was brightened.
        download: the background at full size, of the photo's own format.
        size: height and width.
        seconds: what the remover took.
    """

    folder: Path
    before: Path
    after: Path
    reflection: Path | None
    gradient: Path | None
    brightened: float
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
            raise ConfigError(f"max_megapixels={max_megapixels} is not a valid limit: give a positive number.")
        self.removers = dict(zip(labels, removers, strict=True))
        self.folder = folder
        self.max_megapixels = max_megapixels
        self.device = device
        self._predictor = lru_cache(maxsize=2)(self._open)
        self.strengths = {label: prediction_of(self._predictor(label).remover).strength for label in labels}
        """Each remover's own strength."""

    def about(self, label: str) -> str:
        """One line on a remover."""
        known = {"identity": "The photo as it is"} | {one.name: one.about for one in models()}
        return known.get(label, "Your method" if is_untrained(self.removers[label]) else "Your network")

    def remove(
        self,
        path: Path,
        label: str,
        progress: Callable[[float], object] | None = None,
        strength: float | None = None,
    ) -> Result:
        """Remove the reflection from a photo.

        Args:
            path: any file.
            label: one of `removers`.
            progress: called now and then with the fraction done.
            strength: 0 to 150; None is the remover's own.

        Raises:
            DataError: the file is no photo, or too large; messages call it by its name, without its folder.
            CrrnError: the remover is unknown or failed.
        """
        if label not in self.removers:
            raise ConfigError(f"There is no remover {label}: choose one of {', '.join(self.removers)}.")
        try:
            photo = read_photo(path, self.max_megapixels)
            predictor = self._predictor(label).but(strength=100)
            began = time.perf_counter()
            layers = predictor(photo.mixture(), progress)
            seconds = time.perf_counter() - began
        except CrrnError as error:
            raise type(error)(str(error).replace(str(path), path.name)) from error
        self._forget()
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        assert layers.background is not None
        estimate = photo.with_pixels(layers.background).pixels
        np.save(folder / _ESTIMATE, estimate)
        shutil.copyfile(path, folder / f"{_SOURCE}{path.suffix}")
        reflection, brightened = None, 1.0
        if layers.reflection is not None:
            brightened = visible_gain(layers.reflection)
            reflection = preview(photo.with_pixels(layers.reflection * brightened), folder / "reflection.webp")
        gradient = None
        if layers.gradient is not None:
            gradient = preview(photo.with_pixels(layers.gradient), folder / "gradient.webp")
        after, download = self._render(
            folder, photo, estimate, self.strengths[label] if strength is None else strength, path
        )
        return Result(
            folder=folder,
            before=preview(photo, folder / "before.webp"),
            after=after,
            reflection=reflection,
            gradient=gradient,
            brightened=brightened,
            download=download,
            size=(photo.height, photo.width),
            seconds=seconds,
        )

    def strengthen(self, folder: Path, strength: float) -> tuple[Path, Path]:
        """The preview and the download of a result at another strength, from the estimate that is there.

        Raises:
            DataError: the result was deleted.
        """
        try:
            source = next(folder.glob(f"{_SOURCE}.*"))
            estimate = np.load(folder / _ESTIMATE, mmap_mode="r")
            (download,) = folder.glob("*-background.*")
        except (OSError, StopIteration, ValueError) as error:
            raise DataError("This result was deleted, as it is an hour old: remove the reflection again.") from error
        photo = read_photo(source, self.max_megapixels)
        return self._render(folder, photo, estimate, strength, Path(download.name.replace("-background", "", 1)))

    def remove_many(
        self,
        paths: Sequence[Path],
        label: str,
        progress: Callable[[float], object] | None = None,
        strength: float | None = None,
    ) -> tuple[list[tuple[Path, str]], Path | None, list[str]]:
        """Remove the reflections from several photos.

        Returns:
            (preview, name) of each photo that could be read; a ZIP file of the downloads, None where there is none; and
            a sentence for each photo that could not be read.
        """
        results: list[Result] = []
        names: list[str] = []
        problems = []
        for number, path in enumerate(paths):
            try:
                results.append(self.remove(path, label, strength=strength))
                names.append(path.name)
            except DataError as error:
                problems.append(str(error))
            if progress is not None:
                progress((number + 1) / len(paths))
        if not results:
            return [], None, problems
        archive = Path(tempfile.mkdtemp(dir=self.folder)) / "without-reflections.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            for number, result in enumerate(results):
                taken = names[number] in names[:number]
                file.write(result.download, f"{number + 1}-{names[number]}" if taken else names[number])
        return [(result.after, name) for result, name in zip(results, names, strict=True)], archive, problems

    def _open(self, label: str) -> Predictor:
        remover = load_remover(self.removers[label], self.device)
        if "background" not in estimates_of(remover):
            raise ConfigError(
                f"{label} estimates no background (a GiN alone gives a gradient): give the whole network."
            )
        return Predictor(remover)

    def _render(
        self, folder: Path, photo: Photo, estimate: NDArray[np.generic], strength: float, name: Path
    ) -> tuple[Path, Path]:
        """Writes the preview and the download of an estimate at a strength."""
        whole = Photo(np.asarray(estimate)).mixture()
        background = photo.with_pixels(at_strength(photo.mixture(), whole, strength))
        download = folder / f"{name.stem}-background{name.suffix}"
        with write_atomically(download) as file:
            encode(file, background)
        # Another name each time: a browser would show the picture that it knows.
        return preview(background, folder / f"after-{strength:g}.webp"), download

    def _forget(self) -> None:
        for old in self.folder.iterdir():
            if time.time() - old.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(old, ignore_errors=True)


def visible_gain(layer: Tensor) -> float:
    """By how much a layer is brightened so that it can be seen: its brightest hundredth to 0.9, by `MOST_BRIGHTENED` at
    most.
    """
    bright = float(torch.quantile(layer.flatten()[:: max(1, layer.numel() // 1_000_000)], 0.99))
    return min(max(0.9 / max(bright, 1e-6), 1.0), MOST_BRIGHTENED)


def preview(photo: Photo, path: Path) -> Path:
    """Write a photo for the page: 8 bits, at most `PREVIEW_SIDE` pixels a side, in its own colours, without alpha."""
    pixels = photo.pixels if photo.bits == 8 else (photo.pixels // 257).astype("uint8")
    picture = Image.fromarray(pixels).convert("RGB")
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    picture.save(path, "WEBP", quality=90, icc_profile=photo.icc if not photo.grey else None)
    return path
