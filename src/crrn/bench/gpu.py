"""What each setting for GPUs gains: the training step, the input and a whole training, with and without it."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from crrn.bench.bench import Bench
from crrn.bench.race import synchronise
from crrn.bench.step import LEARNING_RATE, arguments, loss, network, quieten, train
from crrn.bench.textures import write_textures
from crrn.data import MixtureDataModule
from crrn.data.loader import BatchLoader
from crrn.data.settings import Loading, parse_size
from crrn.errors import ConfigError
from crrn.mixing import Mixture
from crrn.private import stop_workers
from crrn.training.counters import PREFIX, product_rate, training_flops
from crrn.training.curves import CURVES
from crrn.training.devices import use_tf32
from crrn.training.objective import compiled_objective, objective

ALL, FLOAT32 = "trainer=gpu", "trainer.precision=32-true"
CACHES: dict[str, bool | str] = {"no cache": False, "cache=true": True, "cache=device": "device"}

COLUMNS = {
    "samples_per_second": ("", 1, "mixtures/s"),
    "waiting_share": (": waiting for photos", 100, "%"),
    "peak_share": (": share of the matrix product's rate", 100, "%"),
    "memory_gb": (": memory at the peak", 1, "GB"),
}
"""What is taken from a training's curves: name, factor, unit."""


class GpuSuite:
    """CRRN's training step with the settings of ``trainer=gpu``, and with all but one of them; photos to mixtures on
    the device, by cache; a training as a run does it, with the share of the time that it waits for photos.

    All steps begin with the same weights and batch; their first losses agree to 2 %. Compiling comes last, as it may
    take minutes.

    Args:
        width: the network's width.
        batch: mixtures in a step.
        size: "HEIGHTxWIDTH" of the mixtures.
        compiler: torch's compiler; None leaves it out.
        photos: photos that are made and decoded.
        photo_size: theirs.
        batches: batches of the input that are timed together.
        steps: of the training.
        side: of the square matrices whose product says what the GPU can do.
        goal: mixtures a second that ``cache=device`` should make; None: no target.
        device: "cuda"; "cpu" rehearses.

    Raises:
        ConfigError: there is no GPU.
    """

    def __init__(
        self,
        width: float = 1.0,
        batch: int = 16,
        size: str = "224x288",
        compiler: str | None = "inductor",
        photos: int = 512,
        photo_size: str = "256x341",
        batches: int = 64,
        steps: int = 200,
        side: int = 8192,
        goal: float | None = 2300,
        device: str = "cuda",
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "suite=[gpu] needs a GPU, and PyTorch finds none: run it on a machine that has one, or rehearse it on "
                "the CPU by toy=true."
            )
        self.width = width
        self.batch = batch
        self.size = size
        self.shape = batch, 3, *parse_size("suite.gpu.size", size)
        self.compiler = compiler
        self.photos = photos
        self.photo_size = parse_size("suite.gpu.photo_size", photo_size)
        self.batches = batches
        self.steps = steps
        self.side = side
        self.goal = goal
        self.device = torch.device(device)

    def run(self, bench: Bench) -> None:
        """Measures the step, the input, a training, and the compiled step."""
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        try:
            peak = max(product_rate(self.device, torch.bfloat16, self.side, repetitions=10) for _ in range(3))
            bench.figure(f"matrix product {self.side}x{self.side}, bfloat16", peak / 1e12, "TFLOP/s")
            title = f"training step, width {self.width:g}, {self.batch}x3x{self.size}"
            self._step(bench, title, peak)
            with tempfile.TemporaryDirectory() as temporary:
                files = tuple(write_textures(Path(temporary), self.photos, *self.photo_size))
                self._input(bench, files)
                self._training(bench, files, Path(temporary))
            if self.compiler is not None:
                contestants = {ALL: self._with(), "compile=true": self._with(compiler=self.compiler)}
                self._race(bench, f"{title}, compiled", contestants, ALL)
        finally:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]

    def _step(self, bench: Bench, title: str, peak: float) -> None:
        gpu = self._with()
        plain = self._with(bfloat16=False)
        contestants = {
            ALL: gpu,
            FLOAT32: plain,
            "channels_last=false": self._with(channels_last=False),
            "optimizer.fused=false": self._with(fused=False),
        }
        seconds = self._race(bench, title, contestants, ALL)
        flops = self.batch * training_flops(gpu.net, lambda net, images: net(images), *self.shape[-2:])
        shares = [100 * flops / one / peak for one in seconds]
        bench.figure(f"{title}: share of the matrix product's rate", shares, "%")
        if self.device.type == "cuda":
            bench.figure(f"{title}: memory beside weights and moments", memory_of(gpu) / 1e9, "GB")
        single = {FLOAT32: plain, "tf32=false": self._with(bfloat16=False, tf32=False)}
        self._race(bench, f"{title}, float32", single, FLOAT32)

    def _with(self, **ways: Any) -> Step:
        return Step(Ways(**ways), self.width, self.shape, self.device)

    def _race(self, bench: Bench, title: str, steps: dict[str, Step], reference: str) -> list[float]:
        """Races the steps, and gives the reference's seconds."""
        race = partial(bench.race, tolerance=0.02, difference=relative_difference, unit="step")
        return race(title, steps, reference=reference).seconds[reference]

    def _input(self, bench: Bench, files: tuple[Path, ...]) -> None:
        with ExitStack() as stack:
            contestants: dict[str, Callable[[], float]] = {}
            for name, cache in CACHES.items():
                data = self._data(files, self.batches, cache)
                quieten()
                data.trainer = L.Trainer(accelerator=self.device.type, devices=1, logger=False)
                loader = data.train_dataloader()
                stack.callback(stop_workers, loader)
                contestants[name] = partial(self._mixtures, data, loader)
            title = f"photos of {self.photo_size[0]}x{self.photo_size[1]} to mixtures of {self.size} on the device"
            items = self.batch * self.batches
            times = bench.race(
                title,
                contestants,
                reference="no cache",
                tolerance=0.01,  # of the mean: the device's resizing differs by rounding
                items=items,
                unit="mixture",
            )
            rates = [items / seconds for seconds in times.seconds["cache=device"]]
            bench.figure(f"{title}, cache=device", rates, "mixtures/s", at_least=self.goal)

    def _mixtures(self, data: MixtureDataModule, loader: BatchLoader) -> float:
        """All batches of a loader, formed on the device; gives their mean."""
        means = []
        for batch in loader:
            mixtures = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, self.device, 0), 0)
            means.append(mixtures.mixture.mean())
        return float(torch.stack(means).mean())

    def _training(self, bench: Bench, files: tuple[Path, ...], folder: Path) -> None:
        for name, cache in CACHES.items():
            run = folder / f"run-{cache}"
            use_tf32(True)
            train(
                network(self.width),
                self._data(files, self.steps, cache),
                run,
                fused=True,
                accelerator=self.device.type,
                precision="bf16-mixed",
            )
            with (run / "joint" / CURVES).open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if row[f"{PREFIX}waiting_share"]]
            rows = rows[1:] or rows  # the loader starts in the first
            where = f"training, width {self.width:g}, batch {self.batch}, {self.size}, {name}"
            for column, (what, factor, unit) in COLUMNS.items():
                values = [factor * float(row[PREFIX + column]) for row in rows if row.get(PREFIX + column)]
                if values:
                    bench.figure(f"{where}{what}", values, unit)

    def _data(self, files: tuple[Path, ...], batches: int, cache: bool | str) -> MixtureDataModule:
        return MixtureDataModule(**arguments(files, self.batch, [self.size], batches), loading=Loading(cache=cache))


@dataclass(frozen=True)
class Ways:
    """How a step is computed; the defaults are those of ``trainer=gpu``."""

    bfloat16: bool = True
    channels_last: bool = True
    fused: bool = True
    tf32: bool = True
    compiler: str | None = None


class Step:
    """A training step on a batch that lies ready; called, it takes the step and gives its loss."""

    def __init__(self, ways: Ways, width: float, shape: Sequence[int], device: torch.device) -> None:
        self.ways = ways
        layout = torch.channels_last if ways.channels_last else torch.contiguous_format
        self.net = network(width).to(device=device, memory_format=layout).train()
        self.loss = loss()
        self.optimizer = torch.optim.Adam(self.net.parameters(), LEARNING_RATE, fused=ways.fused)
        self.objective = objective if ways.compiler is None else compiled_objective(ways.compiler)
        layers = torch.rand(3, *shape, generator=torch.Generator().manual_seed(2018)).to(device)
        self.batch = Mixture(*layers)

    def __call__(self) -> torch.Tensor:
        use_tf32(self.ways.tf32)
        with torch.autocast(self.batch.mixture.device.type, torch.bfloat16, enabled=self.ways.bfloat16):
            value, _ = self.objective(self.net, self.loss, self.batch)
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        return value.detach()


def memory_of(step: Step) -> float:
    """Bytes by which what the GPU holds grows at the peak of a step."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    synchronise()
    return torch.cuda.max_memory_allocated() - before


def relative_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    """Of two losses."""
    return abs(float(second) / float(first) - 1)
