"""A remover on an image of any size, in bounded memory: at its working size, whole or in tiles."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from crrn.errors import ConfigError, DataError
from crrn.image.padding import crop, pad_to_multiple
from crrn.image.working_size import at_strength, at_working_size
from crrn.inference.folding import fold_batch_norm
from crrn.inference.memory import SCRATCH, allowed, bytes_per_pixel, used
from crrn.inference.tiles import Window, smallest, tile_size, windows
from crrn.layers import Layers
from crrn.nets import estimate, estimates_of, prediction_of
from crrn.nets.gin import MULTIPLE
from crrn.solvers.identity import Identity
from crrn.solvers.solver import Solver

OVERLAP = 384
"""Pixels that neighbouring tiles share."""

PRECISIONS = ("fp32", "bf16")

log = logging.getLogger("crrn")


class Predictor:
    """Runs a remover on one image.

    A remover with a working size sees a small copy of the image. Any other remover sees the image itself: whole if it
    fits the memory, otherwise in overlapping tiles that are blended.

    A pixel of CRRN's result depends on up to 306 pixels around it, but hardly on the outer ones. Near the border of a
    tile the result therefore differs from that of the whole image. Measured on photos with a network trained for a
    quarter of an hour, the largest differences of the background are:

    - 0.08 next to the border,
    - 0.024, 0.012, 0.004 and 0.001 at 96, 128, 160 and 192 pixels from it,
    - 0 from 282 pixels on, because tiles lie on the network's own grid of 32 pixels.

    With the overlap of 384, the outermost 144 pixels of a tile are context only. In the next 96 its weight rises
    smoothly from 0 to 1. On photos in tiles of 640 pixels, at most 0.0004 was left, a tenth of a level of 8 bits. With
    an overlap of 768 only rounding is left.

    Solvers compute each pixel from the whole image, by a Fourier transform or by one system of equations. In tiles they
    give other results: on photos of 800x600 in tiles of 448, YL19 differed by up to 0.03 and LB14 by up to 0.3.
    (Shifting the tiles to a small copy's result made it worse.) Solvers get the whole image where the memory allows;
    elsewhere a warning is logged.

    Args:
        remover: in evaluation mode, on the device where it is to run.
        memory: the limit in GB (1e9 bytes). On a CPU it is for the whole process, image included; on a GPU for the
            process's memory there. "auto" leaves half of the free memory to others, on a GPU a fifth.
        tile: the side of the tiles in pixels. An image that is smaller is not divided. None: as `memory` allows.
        overlap: of neighbouring tiles, in pixels.
        layers: the layers to compute; None: all that the remover estimates. Others cost no memory.
        self_ensemble: give the mean over the image's eight flips and turns. Takes eight times as long.
        precision: "fp32", or "bf16" for a network's convolutions.
        working_size: the short side in pixels of the copy that the remover sees. "auto" is the remover's own; "native"
            or None is the image's size.
        strength: the share of the estimated change, 0 to 150; None is the remover's own.
        refuse: raise an error, instead of logging a warning, if the memory does not suffice for the smallest tiles, or
            for a solver not for the whole image.
        device: where a remover without parameters, such as a solver, runs; None is the CPU.

    Raises:
        ConfigError: an option is out of range, or the remover does not estimate a wanted layer.
    """

    def __init__(
        self,
        remover: nn.Module,
        *,
        memory: float | str = "auto",
        tile: int | None = None,
        overlap: int = OVERLAP,
        layers: Sequence[str] | None = None,
        self_ensemble: bool = False,
        precision: str = "fp32",
        working_size: int | str | None = "auto",
        strength: float | None = None,
        refuse: bool = False,
        device: str | torch.device | None = None,
    ) -> None:
        self.layers = _estimated(remover, layers)
        if overlap <= 0 or overlap != int(overlap):
            raise ConfigError(f"overlap={overlap} is not a valid overlap: give a positive number of pixels.")
        if tile is not None and tile < smallest(overlap):
            raise ConfigError(f"tile={tile} is too small for overlap={overlap}: give {smallest(overlap)} or more.")
        if precision not in PRECISIONS:
            raise ConfigError(f"precision={precision} is unknown: choose one of {', '.join(PRECISIONS)}.")
        self.prediction = prediction_of(remover).chosen(working_size, strength)
        self.folded = getattr(remover, "folds_batch_norm", False)
        if self.folded:
            # The same to rounding, in fewer passes over memory and in the format that convolutions are faster in.
            remover = fold_batch_norm(remover).to(memory_format=torch.channels_last)
        self.remover = remover
        self.memory = memory
        self.tile = tile
        self.overlap = int(overlap)
        self.self_ensemble = self_ensemble
        self.precision = precision
        self.refuse = refuse
        state = next(iter([*remover.parameters(), *remover.buffers()]), None)
        self.device = state.device if state is not None else torch.device(device or "cpu")
        allowed(memory, self.device)  # a wrong limit is said now

    def but(
        self,
        *,
        layers: Sequence[str] | None = None,
        working_size: int | str | None = "auto",
        strength: float | None = None,
    ) -> Predictor:
        """A predictor of the same remover with other settings, as of the class; the weights are shared."""
        other = copy.copy(self)
        other.layers = _estimated(self.remover, layers)
        other.prediction = prediction_of(self.remover).chosen(working_size, strength)
        return other

    def __call__(self, mixture: Tensor, progress: Callable[[float], object] | None = None) -> Layers:
        """Estimate the wanted layers.

        Args:
            mixture: (1, 3, H, W) in [0, 1], any H, W >= 1, on any device.
            progress: called now and then with the fraction done, in (0, 1].

        Returns:
            Layers of the mixture's size, float32, on its device, clipped to [0, 1].

        Raises:
            DataError: the mixture has another shape, the remover gave values that are not finite, there is not even
                memory for the smallest tiles, or `refuse` says so.
        """
        if mixture.ndim != 4 or mixture.shape[:2] != (1, 3) or 0 in mixture.shape or not mixture.is_floating_point():
            raise DataError(
                f"an image of shape {tuple(mixture.shape)} and type {mixture.dtype} cannot be predicted: give "
                "(1, 3, H, W), floating point in [0, 1]"
            )
        layers = at_working_size(
            lambda image: self._estimate(image, progress), mixture.float(), self.prediction.working_size
        )
        if layers.background is not None:
            layers = layers._replace(background=at_strength(mixture, layers.background, self.prediction.strength))
        return layers

    def _estimate(self, mixture: Tensor, progress: Callable[[float], object] | None) -> Layers:
        """The layers of an image as it is, clipped, on its device."""
        height, width = mixture.shape[-2:]
        tile = self.tile_for(height, width)
        while True:
            rows, columns = windows(height, tile[0], self.overlap), windows(width, tile[1], self.overlap)
            try:
                with torch.no_grad():
                    return self._run(mixture, rows, columns, progress)
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
                    raise
                least = smallest(self.overlap)
                if max(tile) <= least:
                    raise DataError(
                        f"There is no memory for tiles of {tile[0]}x{tile[1]} pixels: close other programs, or give "
                        "a narrower remover."
                    ) from error
                log.warning("tiles of %dx%d pixels do not fit the memory: trying smaller ones", *tile)
            torch.cuda.empty_cache()
            self._warn_of_tiles()
            tile = tile_size(height, width, tile[0] * tile[1] / 2, self.overlap)

    def tile_for(self, height: int, width: int) -> tuple[int, int]:
        """The tiles' height and width for an image that is already in memory; the image's own when it goes whole.
        DataError where `refuse` says so."""
        if self.tile is not None:
            return min(height, self.tile), min(width, self.tile)
        room = allowed(self.memory, self.device) - used(self.device) - SCRATCH
        needed = bytes_per_pixel(self.remover) + (28 if self.self_ensemble else 0)
        if height * width * needed <= room:
            return height, width
        self._warn_of_tiles(f": it needs {height * width * needed / 1e9:.2f} GB more and has {max(room, 0) / 1e9:.2f}")
        channels = sum(1 if layer == "gradient" else 3 for layer in self.layers)
        results = 0 if self.device.type == "cuda" else 4 * channels * height * width
        pixels = (room - results) / (needed + 12)  # 12 for a tile's own copy of the image
        least = smallest(self.overlap)
        if pixels < least**2:
            self._warn(f"memory={self.memory} is too little for tiles of {least}x{least}", "more will be taken")
        return tile_size(height, width, pixels, self.overlap)

    def _warn_of_tiles(self, why: str = "") -> None:
        """A solver gives other results in tiles."""
        if isinstance(self.remover, Solver) and type(self.remover) is not Identity:
            self._warn(
                f"the memory does not suffice for a solver on the whole image{why}",
                "it goes in tiles, in which a solver gives other results; raise memory if you can",
            )

    def _warn(self, what: str, then: str) -> None:
        if self.refuse:
            raise DataError(f"{what}: raise memory={self.memory}, or close other programs.")
        log.warning("%s: %s", what, then)

    def _run(
        self,
        mixture: Tensor,
        rows: Sequence[Window],
        columns: Sequence[Window],
        progress: Callable[[float], object] | None,
    ) -> Layers:
        parts = len(rows) * len(columns)
        if parts == 1:
            with _reporting(self.remover, progress, 0, 1):
                layers = self._layers(mixture)
            if progress is not None:
                progress(1.0)
            return Layers(**{name: layer.to(mixture.device) for name, layer in layers.items()})
        results = {
            name: torch.zeros(1, 1 if name == "gradient" else 3, *mixture.shape[-2:], device=mixture.device)
            for name in self.layers
        }
        for number, (row, column) in enumerate((row, column) for row in rows for column in columns):
            with _reporting(self.remover, progress, number, parts):
                layers = self._layers(mixture[..., row.start : row.stop, column.start : column.stop])
            weight = row.weight[row.inner, None] * column.weight[column.inner]
            for name, layer in layers.items():
                part = layer[..., row.inner, column.inner].to(mixture.device)
                results[name][..., row.used, column.used].addcmul_(part, weight.to(mixture.device))
            if progress is not None:
                progress((number + 1) / parts)
        return Layers(**results)

    def _layers(self, mixture: Tensor) -> dict[str, Tensor]:
        """The wanted layers of a tile, clipped, on the remover's device."""
        height, width = mixture.shape[-2:]
        mixture = mixture.to(self.device, torch.float32)
        if not isinstance(self.remover, Solver):
            # Here and not in the network, so that an ensemble's turned images lie on the grid as the others do.
            mixture = pad_to_multiple(mixture, MULTIPLE)
        turns = [(k, flipped) for flipped in (False, True) for k in range(4)] if self.self_ensemble else [(0, False)]
        totals: dict[str, Tensor] = {}
        for k, flipped in turns:
            layers = self._forward(_turned(mixture, k, flipped))
            for name in self.layers:
                layer = _turned_back(layers[name], k, flipped)
                totals[name] = totals[name].add_(layer) if name in totals else layer
        for name, total in totals.items():
            if not total.sum().isfinite():
                raise DataError(f"the remover gave a {name} that is not finite: try precision=fp32 or other weights.")
            totals[name] = crop(total, height, width).div_(len(turns)).clamp_(0, 1)
        return totals

    def _forward(self, mixture: Tensor) -> dict[str, Tensor]:
        if self.folded:
            mixture = mixture.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            layers = estimate(self.remover, mixture)
        wanted = {name: layer for name, layer in layers._asdict().items() if name in self.layers}
        # What is returned is worked on in place, and must not be the caller's image.
        own = mixture.untyped_storage().data_ptr()
        return {
            name: layer.clone() if layer.untyped_storage().data_ptr() == own else layer.float()
            for name, layer in wanted.items()
        }


def _estimated(remover: nn.Module, layers: Sequence[str] | None) -> tuple[str, ...]:
    """The layers that are wanted of a remover; all where None are named."""
    estimates = estimates_of(remover)
    for layer in layers or ():
        if layer not in estimates:
            raise ConfigError(f"this remover estimates no {layer}, only {' and '.join(estimates)}.")
    return tuple(estimates if layers is None else layers)


def _turned(image: Tensor, k: int, flipped: bool) -> Tensor:
    image = image.flip(-1) if flipped else image
    return image.rot90(k, (-2, -1)) if k else image


def _turned_back(image: Tensor, k: int, flipped: bool) -> Tensor:
    image = image.rot90(-k, (-2, -1)) if k else image
    return image.flip(-1) if flipped else image


@contextmanager
def _reporting(remover: Any, progress: Callable[[float], object] | None, done: int, parts: int) -> Iterator[None]:
    """Hands on what a slow solver tells of its progress within one tile."""
    if progress is None or not isinstance(remover, Solver):
        yield
        return
    before, remover.progress = remover.progress, lambda fraction: progress((done + fraction) / parts)
    try:
        yield
    finally:
        remover.progress = before
