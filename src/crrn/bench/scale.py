"""How the input scales with worker processes, and what it takes to feed GPUs: a model from measured parts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from crrn.bench.bench import Bench
from crrn.bench.input import two_photos
from crrn.bench.race import Times
from crrn.bench.step import arguments
from crrn.bench.textures import write_textures
from crrn.data import MixtureDataModule
from crrn.data.loader import BatchLoader
from crrn.data.settings import Loading, parse_size
from crrn.nets import CRRN
from crrn.private import stop_workers
from crrn.training.dry_run import forward_flops

TRAINING = 3
"""Arithmetic of a training step, in forward passes."""


class ScaleSuite:
    """Augmented uint8 pairs from JPEG files, by number of worker processes, without and with the photo cache; each
    worker on one thread. All numbers of workers give the same bits, which is checked.

    From it follows what a GPU that trains the whole network needs: docs/speed.md has the formulas.

    Args:
        workers: numbers of worker processes, 0 being a thread; the first is the reference.
        sizes: "HEIGHTxWIDTH" of the batches.
        batch: mixtures in a batch.
        batches: batches in a measurement, from the start of an iteration.
        photo_size: of the photos; most of PASCAL VOC's have 375x500.
        width: of the network that the GPUs train.
        peak: the GPU's arithmetic in 1e12 operations a second, by default an H100's dense bfloat16.
        share: of it, what training uses.
        gpus: GPUs that train together.
    """

    def __init__(
        self,
        workers: Sequence[int] = (0, 1, 2),
        sizes: Sequence[str] = ("96x160", "224x288"),
        batch: int = 16,
        batches: int = 16,
        photo_size: str = "375x500",
        width: float = 1.0,
        peak: float = 989.0,
        share: float = 0.4,
        gpus: Sequence[int] = (1, 8),
    ) -> None:
        self.workers = workers
        self.sizes = sizes
        self.batch = batch
        self.batches = batches
        self.photo_size = parse_size("suite.scale.photo_size", photo_size)
        self.width = width
        self.peak = peak * 1e12
        self.share = share
        self.gpus = gpus

    def run(self, bench: Bench) -> None:
        """Measures the loaders, then reckons."""
        with tempfile.TemporaryDirectory() as temporary, bench.with_threads(1):
            files = tuple(write_textures(Path(temporary), 8 * self.batch, *self.photo_size))
            seconds = {cached: self._loaders(bench, files, cached) for cached in (False, True)}
            read = 2 * fmean(file.stat().st_size for file in files)
        self._model(bench, seconds, read)

    def _loaders(self, bench: Bench, files: tuple[Path, ...], cached: bool) -> float:
        """Seconds of one core for a mixture: the median of the fewest worker processes, handing over included."""
        contestants: dict[str, Callable[[], Any]] = {}
        with ExitStack() as stack:
            for count in self.workers:
                data = MixtureDataModule(
                    **arguments(files, self.batch, self.sizes, self.batches), loading=Loading(count, cached)
                )
                loader = data.train_dataloader()
                stack.callback(stop_workers, loader)
                contestants[named(count)] = partial(go_through, loader)
            reference = named(self.workers[0])
            items = self.batch * self.batches
            times: Times = bench.race(
                f"JPEG files to augmented uint8 pairs{', cached' if cached else ''}",
                contestants,
                reference=reference,
                tolerance=0,
                items=items,
                unit="mixture",
            )
        fewest = min((count for count in self.workers if count > 0), default=0)
        return median(times.seconds[named(fewest)]) * max(1, fewest) / items

    def _model(self, bench: Bench, seconds: dict[bool, float], read: float) -> None:
        net = CRRN(self.width)
        sizes = [parse_size("suite.scale.sizes", size) for size in self.sizes]
        flops = TRAINING * fmean(forward_flops(net, *size) for size in sizes)
        gradients = 4 * sum(parameter.numel() for parameter in net.parameters())
        moved = fmean(2 * 3 * height * width for height, width in sizes)
        rate = self.share * self.peak / flops
        gpu = f"a GPU of {self.peak / 1e12:g} TFLOP/s at {self.share:.0%}"
        bench.figure(f"training CRRN width {self.width:g}, arithmetic of a mixture", flops / 1e9, "GFLOP")
        bench.figure("two photos of a mixture, read from disk", read / 1e3, "kB")
        bench.figure("two photos of a mixture, moved to the device", moved / 1e3, "kB")
        bench.figure("gradients of a step", gradients / 1e6, "MB")
        bench.figure(f"{gpu}, mixtures", rate, "mixtures/s")
        bench.figure(f"{gpu}, loader cores", rate * seconds[False], "cores")
        bench.figure(f"{gpu}, loader cores, cached", rate * seconds[True], "cores")
        for count in self.gpus:
            which = "one such GPU" if count == 1 else f"{count} such GPUs"
            bench.figure(f"{which}, disk (with the cache: in the first epochs only)", count * rate * read / 1e9, "GB/s")
            bench.figure(f"{which}, to the devices", count * rate * moved / 1e9, "GB/s")
            if count > 1:
                # A ring sends and receives the gradients 2 (N - 1) / N times; batch is a GPU's share of a step.
                ring = 2 * (count - 1) / count * gradients * rate / self.batch
                bench.figure(f"{which}, {self.batch} mixtures each, network to and from each", ring / 1e9, "GB/s")


def named(workers: int) -> str:
    """A contestant's name."""
    return {0: "a thread", 1: "1 worker"}.get(workers, f"{workers} workers")


def go_through(loader: BatchLoader) -> list[int]:
    """All batches from the start; gives a sum of each batch's values on a coarse grid."""
    return [sum(int(photos[..., ::16, ::16].sum()) for photos in two_photos(batch)) for batch in loader]
