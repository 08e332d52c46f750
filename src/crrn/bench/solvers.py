"""The classical solvers beside transcriptions of the published algorithms, and their memory on large photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crrn.allocator import peak_memory, reset_peak_memory
from crrn.bench import references
from crrn.bench.bench import Bench
from crrn.bench.machine import in_fresh_process
from crrn.bench.race import check, measure
from crrn.bench.textures import texture
from crrn.data.settings import parse_size
from crrn.errors import ConfigError
from crrn.image.filters import filter_separable, gaussian_kernel
from crrn.solvers import NR17, SOLVERS, WS16

TRANSCRIPTION, OURS = "NumPy and SciPy", "crrn"
TOLERANCE = 1e-4
"""Mean difference of the results. A difference at a threshold falls to one side in float32 and to the other in float64
now and then, which changes single pixels by more; that the maths is the same is held by tests in float64."""


class SolversSuite:
    """Each solver, in float32, beside its transcription, which works on one image at a time in float64.

    NR17's outer steps are alike: `outer_steps` of its 25 are timed. WS16's separation is timed on one channel, with
    edges found beforehand; its transcription solves directly by a sparse factorisation, which would take minutes on a
    batch: there it is timed on one image, counted as many times as there are images.

    Args:
        size: "HEIGHTxWIDTH" of the images.
        batch: images in the batch.
        methods: which solvers.
        outer_steps: of NR17.
        reweightings: of WS16; 5 are published.
        large: sizes in megapixels at which time and peak memory are measured, in processes of their own; memory a
            pixel at the last is compared with that at the first.
    """

    def __init__(
        self,
        size: str = "400x540",
        batch: int = 8,
        methods: Sequence[str] = ("yl19", "lb14", "nr17", "ws16"),
        outer_steps: int = 1,
        reweightings: int = 5,
        large: Sequence[float] = (3, 12),
    ) -> None:
        self.size = parse_size("suite.solvers.size", size)
        self.batch = batch
        unknown = [name for name in methods if name not in RACES]
        if unknown:
            raise ConfigError(f"suite.solvers.methods: {unknown[0]!r} is not timed; choose of {', '.join(RACES)}.")
        self.methods = tuple(methods)
        self.outer_steps = outer_steps
        self.reweightings = reweightings
        self.large = tuple(large)

    def run(self, bench: Bench) -> None:
        """One image, then a batch, then large photos."""
        size = f"{self.size[0]}x{self.size[1]}"
        images = torch.cat([mixture(n, *self.size) for n in range(self.batch)])
        for name in self.methods:
            race = partial(bench.race, reference=TRANSCRIPTION, tolerance=TOLERANCE, difference=mean_difference)
            title, contestants = RACES[name](self, images[:1])
            race(f"{title}, one image of {size}", contestants, targets={OURS: 5})
            if self.batch > 1:
                title, contestants = RACES[name](self, images)
                what = f"{title}, a batch of {self.batch} of {size}"
                if name == "ws16":
                    self._race_one_against_all(bench, f"{what}, the transcription on one", contestants)
                else:
                    race(what, contestants, targets={OURS: 10}, items=self.batch)
        for name in self.methods:
            for options in LARGE.get(name, ({},)):
                self._measure_large(bench, name, options)

    def _race_one_against_all(self, bench: Bench, what: str, contestants: Mapping[str, Callable[[], Any]]) -> None:
        """A race in which the transcription, which takes its images one by one, works on the first alone."""
        differences = check(
            what, contestants, TRANSCRIPTION, TOLERANCE, lambda one, every: mean_difference(one, every[:1])
        )
        times = measure(contestants, TRANSCRIPTION, bench.repetitions, bench.seconds)
        times.seconds[TRANSCRIPTION] = [seconds * self.batch for seconds in times.seconds[TRANSCRIPTION]]
        bench.report(what, times, differences=differences, targets={OURS: 10}, items=self.batch)

    def _measure_large(self, bench: Bench, name: str, options: Mapping[str, Any]) -> None:
        what = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
        per_pixel = []
        for megapixels in self.large:
            seconds, grown, pixels = in_fresh_process(separate_large, name, options, megapixels, bench.threads)
            bench.figure(f"{what}, a photo of {megapixels:g} megapixels", seconds, "s")
            bench.figure(f"{what}, its peak memory at {megapixels:g} megapixels", grown / 1e9, "GB")
            per_pixel.append(grown / pixels)
        if len(per_pixel) > 1:
            sizes = f"{self.large[-1]:g} over that at {self.large[0]:g} megapixels"
            bench.figure(f"{what}, memory a pixel at {sizes}", per_pixel[-1] / per_pixel[0], "times", at_most=1.1)

    def yl19(self, images: Tensor) -> Race:
        """All of it."""
        return "YL19", {
            TRANSCRIPTION: lambda: each(references.yl19, images),
            OURS: lambda: SOLVERS["yl19"]()(images).background,
        }

    def lb14(self, images: Tensor) -> Race:
        """All of it."""
        return "LB14", {
            TRANSCRIPTION: lambda: each(references.lb14, images),
            OURS: lambda: SOLVERS["lb14"]()(images).background,
        }

    def nr17(self, images: Tensor) -> Race:
        """The first outer steps."""
        options = {"beta_max": 2 * 2e-3 * 2.0 ** (self.outer_steps - 0.5)}
        solver = NR17(**options)
        return f"NR17, {self.outer_steps} of 25 outer steps", {
            TRANSCRIPTION: lambda: each(partial(references.nr17, **options), images),
            OURS: lambda: solver(images).background,
        }

    def ws16(self, images: Tensor) -> Race:
        """The separation of one channel; the transcription's of the first image."""
        solver = WS16(iterations=self.reweightings)
        parts = [(image[:, :1], solver.classify(image)) for image in images.split(1)]
        plane, edges = parts[0]
        exact, (own, other) = plane[0, 0].double().numpy(), (edge[0, 0].numpy() for edge in edges)
        return f"WS16, one channel, {self.reweightings} reweightings", {
            TRANSCRIPTION: lambda: references.ws16_separate(exact, own, other, self.reweightings)[None, None],
            # image by image, as the solver takes a batch on a CPU
            OURS: lambda: torch.cat([solver.separate(plane, *edges) for plane, edges in parts]),
        }


Race = tuple[str, Mapping[str, Callable[[], Any]]]
RACES: dict[str, Callable[[SolversSuite, Tensor], Race]] = {
    "yl19": SolversSuite.yl19,
    "lb14": SolversSuite.lb14,
    "nr17": SolversSuite.nr17,
    "ws16": SolversSuite.ws16,
}
"""What is timed of each solver: a title, and the two contestants for (N, 3, H, W) images."""

LARGE: dict[str, tuple[dict[str, Any], ...]] = {
    "nr17": ({"inner": "closed"}, {"beta_max": 0.005}),
    "ws16": ({"iterations": 0},),
}
"""With which options large photos are separated, so that a run ends: NR17 by its closed form, and the first of its 25
outer steps as published; the first of WS16's six solves. The steps that follow work in the same memory."""


def mixture(seed: int, height: int, width: int) -> Tensor:
    """A sharp texture under a blurred one, (1, 3, H, W), float32 in [0, 1]."""
    background, reflection = (
        torch.from_numpy(texture(number, height, width).transpose(2, 0, 1).copy())[None].float() / 255
        for number in (2 * seed, 2 * seed + 1)
    )
    blurred = filter_separable(reflection, gaussian_kernel(11, 3.0), "reflect")
    return (0.8 * background + 0.25 * blurred).clamp(0, 1).contiguous()


def each(solve: Callable[..., Any], images: Tensor) -> Any:
    """The transcription's results for float32 images, one by one, as (N, 3, H, W)."""
    return np.stack([solve(image.permute(1, 2, 0).double().numpy()).transpose(2, 0, 1) for image in images])


def mean_difference(first: Any, second: Any) -> float:
    """The mean absolute difference of two arrays of one shape."""
    return float(np.abs(np.asarray(first) - np.asarray(second)).mean())


def separate_large(name: str, options: Mapping[str, Any], megapixels: float, threads: int) -> tuple[float, float, int]:
    """One separation of a 4:3 photo: its seconds, the bytes by which this process grew at its peak, its pixels."""
    torch.set_num_threads(threads)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    photo = mixture(0, height, width)
    solver = SOLVERS[name](**options)
    solver(photo[..., :64, :64])
    before = reset_peak_memory()
    began = time.perf_counter()
    solver(photo)
    return time.perf_counter() - began, peak_memory() - before, height * width
