"""What a training step costs beside the network's arithmetic: Lightning, callbacks, logging, checkpoints, data."""

from __future__ import annotations

import csv
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from crrn.bench.bench import Bench
from crrn.bench.race import Times, check, synchronise
from crrn.bench.textures import write_textures
from crrn.data import MixtureDataModule
from crrn.data.batch import form
from crrn.data.settings import Batches, Validation, parse_size
from crrn.data.sources import PhotoSource
from crrn.image.gradient import gradient_magnitude
from crrn.layers import Layers
from crrn.losses import ReconstructionLoss
from crrn.mixing import Mixture, PaperMixing
from crrn.nets import CRRN
from crrn.training import Logging, Optimizer, RunDirectory, Stage, train_stages
from crrn.training.schedules import multistep

OURS, BARE = "crrn-train", "bare loop"
LEARNING_RATE = 1e-4


class StepSuite:
    """A training step as ``crrn-train`` does it, with all its callbacks and curves, against a bare PyTorch loop.

    The two take turns step by step on one batch that lies ready: the loader that Lightning asks for its next batch
    first does a step of the bare loop, on a copy of the network. In the end both networks must hold the same weights.
    Then the same training on photos that are decoded as it goes, as configured by default: the share of the time that
    it waits for them.

    Args:
        sizes: "HEIGHTxWIDTH" of the batches.
        width: the network's width.
        batch: mixtures in a step.
        blocks: blocks of steps; a block is as many as lie between two rows of the curves.
        photo_size: height and width of the photos that are decoded; most of PASCAL VOC's have 375x500.
        data_blocks: blocks of the training on photos, after a first one in which the loader starts.
    """

    def __init__(
        self,
        sizes: Sequence[str] = ("96x160", "224x288"),
        width: float = 0.25,
        batch: int = 8,
        blocks: int = 2,
        photo_size: str = "375x500",
        data_blocks: int = 2,
    ) -> None:
        self.sizes = sizes
        self.width = width
        self.batch = batch
        self.blocks = blocks
        self.photo_size = parse_size("suite.step.photo_size", photo_size)
        self.data_blocks = data_blocks

    def run(self, bench: Bench) -> None:
        """Measures the overhead at each size, then the waiting for data."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            files = tuple(write_textures(folder, 12 * self.batch, *self.photo_size))
            for size in self.sizes:
                self._overhead(bench, files, folder, size)
            self._data(bench, files, folder)

    def _overhead(self, bench: Bench, files: tuple[Path, ...], folder: Path, size: str) -> None:
        settings = Logging()
        block = settings.metrics_every_n_steps
        data = Turns(files, self.batch, [size], self.blocks * block + 2)
        net = network(self.width)
        data.begin(net)
        checkpoint = CheckpointTime()
        train(net, data, folder / f"run-{size}", checkpoint)

        title = f"training step, width {self.width:g}, {self.batch}x3x{size}"
        weights = partial(weights_of, net), partial(weights_of, data.net)
        differences = check(title, dict(zip((OURS, BARE), weights, strict=True)), BARE, 1e-5)
        # The first step of each is left out: it allocates.
        times = Times(BARE, {BARE: data.bare_seconds[1:-1], OURS: data.trainer_seconds[1:]})
        bench.report(title, times, differences=differences, unit="step")
        own, bare = (
            [fmean(times.seconds[name][at : at + block]) for at in range(0, self.blocks * block, block)]
            for name in (OURS, BARE)
        )
        minutes = settings.checkpoint_every_n_minutes
        bench.figure(f"copying a checkpoint, every {minutes:g} minutes, {size}", checkpoint.seconds * 1e3, "ms")
        saving = checkpoint.seconds / (60 * minutes)
        overhead = [100 * (one * (1 + saving) / other - 1) for one, other in zip(own, bare, strict=True)]
        bench.figure(f"overhead, curves and checkpoints included, {size}", overhead, "%", at_most=3)

    def _data(self, bench: Bench, files: tuple[Path, ...], folder: Path) -> None:
        steps = (self.data_blocks + 1) * Logging().metrics_every_n_steps
        data = MixtureDataModule(**arguments(files, self.batch, self.sizes, steps))
        run = folder / "run-data"
        train(network(self.width), data, run)
        with (run / "joint" / "metrics.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["speed/waiting_share"]]
        rows = rows[1:]  # the loader starts in the first
        where = f"width {self.width:g}, batch {self.batch}, {' and '.join(self.sizes)}"
        shares = [100 * float(row["speed/waiting_share"]) for row in rows]
        bench.figure(f"waiting for data, {where}", shares, "%", at_most=1)
        speeds = [float(row["speed/samples_per_second"]) for row in rows]
        bench.figure(f"training from files, {where}", speeds, "mixtures/s")


class Turns(MixtureDataModule):
    """Gives the trainer one ready batch again and again, and does a step of a bare loop before each.

    Attributes:
        bare_seconds: what each step of the bare loop took.
        trainer_seconds: what the trainer took from being given a batch to asking for the next.
    """

    def __init__(self, files: tuple[Path, ...], batch: int, sizes: Sequence[str], steps: int) -> None:
        super().__init__(**arguments(files, batch, sizes, steps))
        self.bare_seconds: list[float] = []
        self.trainer_seconds: list[float] = []

    def begin(self, net: nn.Module) -> None:
        """Takes a copy of the network for the bare loop, and makes the batch."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = deepcopy(net).to(device).train()
        self.loss = loss()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LEARNING_RATE)
        photos = next(iter(super().train_dataloader()))
        mixtures: Mixture = form(photos, self.mixing)
        self.ready = Mixture._make(None if field is None else field.to(device) for field in mixtures)

    def step(self) -> None:
        """One step of the bare loop."""
        self.optimizer.zero_grad()
        value, _ = self.loss(self.net(self.ready.mixture), self._targets())
        value.backward()
        self.optimizer.step()

    def _targets(self) -> Layers:
        background = self.ready.background
        return Layers(background, self.ready.reflection, gradient_magnitude(background))

    def train_dataloader(self) -> Any:
        """The taking of turns, as long as an epoch."""
        return self

    def __len__(self) -> int:
        return self.batches.per_epoch()

    def __iter__(self) -> Iterator[Mixture]:
        for _ in range(len(self)):
            began = time.perf_counter()
            self.step()
            synchronise()
            ended = time.perf_counter()
            self.bare_seconds.append(ended - began)
            yield self.ready
            synchronise()
            self.trainer_seconds.append(time.perf_counter() - ended)


class CheckpointTime(Callback):
    """Times one checkpoint at the end of a training."""

    seconds = 0.0

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        began = time.perf_counter()
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "timed.ckpt", weights_only=False)
        self.seconds = time.perf_counter() - began


def arguments(files: tuple[Path, ...], batch: int, sizes: Sequence[str], steps: int) -> dict[str, Any]:
    """A data module's, with what is not given as in ``conf/data``."""
    half = len(files) // 2
    return {
        "background": PhotoSource("backgrounds", files[:half]),
        "reflection": PhotoSource("reflections", files[half:]),
        "mixing": PaperMixing(),
        "seed": 2018,
        "batches": Batches(batch_size=batch, sizes=sizes, samples_per_epoch=steps * batch),
        "validation": Validation(mixtures=1, size=sizes[0]),
    }


def network(width: float) -> Any:
    """An untrained CRRN, the same each time."""
    torch.manual_seed(2018)
    return CRRN(width).to(memory_format=torch.channels_last)


def loss() -> ReconstructionLoss:
    """Eq. 7."""
    return ReconstructionLoss({"ssim": 0.8, "l1": 1.0}, {"ssim": 1.0}, {"si": 1.0})


def train(
    net: Any, data: MixtureDataModule, folder: Path, *callbacks: Callback, fused: bool = False, **settings: Any
) -> None:
    """One epoch of the joint stage, as ``crrn-train`` does it; ``settings`` are further ones of the trainer."""
    stage = Stage(1, LEARNING_RATE, multistep, loss())
    settings = {"devices": 1, "use_distributed_sampler": False, "num_sanity_val_steps": 0, **settings}
    trainer = partial(L.Trainer, log_every_n_steps=1, **settings)
    run = RunDirectory(folder, None, {}, "")
    quieten()
    with warnings.catch_warnings():
        # Lightning's own, as in crrn-train
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", ".*does not have many workers")
        warnings.filterwarnings("ignore", "It is recommended to use .self.log")
        train_stages(
            net,
            {"joint": stage},
            data,
            Optimizer("torch.optim.Adam", fused=fused),
            trainer,
            run,
            last_callbacks=callbacks,
        )


def quieten() -> None:
    """Lets Lightning speak of errors alone."""
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).handlers.clear()
        logging.getLogger(library).setLevel(logging.ERROR)


def weights_of(net: nn.Module) -> list[Any]:
    """All parameters and buffers."""
    return [value.detach().cpu() for value in net.state_dict().values()]
