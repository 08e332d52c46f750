"""How long a run's steps and validations take on this machine, measured on a copy that is thrown away."""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.utilities.seed import isolate_rng

from crrn.data import MixtureDataModule
from crrn.errors import ConfigError
from crrn.files import write_atomically
from crrn.training.background import Background
from crrn.training.budget import Budget, Lengths, StageTimes, fit_lengths
from crrn.training.callbacks import CallbackFactory
from crrn.training.checkpoints import Checkpoints
from crrn.training.curves import CsvCurves, Curves
from crrn.training.ema import EMA
from crrn.training.guards import Begun, clear_errors
from crrn.training.panels import Panels
from crrn.training.results import take_result, write_result
from crrn.training.rundir import is_main_process
from crrn.training.stage_training import StageTraining
from crrn.training.trainers import TrainerFactory, stage_trainer

if TYPE_CHECKING:
    from crrn.training.stages import Stage

MEASURING_SHARE = 0.05
"""Share of a budget that measuring takes, about: beside it there are two rounds of batches and a validation."""

MOST_BATCHES = 60
"""That are measured in a stage."""

TAKING_TIME = (EMA, WeightAveraging, Curves, Panels, Checkpoints)
"""The callbacks that take part: others, such as progress lines and a user's own, would speak of a training."""

clock = time.monotonic


class Stopwatch(Callback):
    """Times batches and the end of an epoch, then ends the training.

    The first round of batches loads libraries and takes memory. From the second round, the first process decides for
    all how many more batches are measured.

    Args:
        sizes: the number of batch sizes, which take turns.
        seconds: how long to measure.
        path: the JSON file that the first process writes. It has the seconds of a ``batch`` and of the ``validation``
            and the number of ``batches``. ``idle`` has the seconds from the start of the fit to the start of the
            training, in which photos for the cache are read.
    """

    def __init__(self, sizes: int, seconds: float, path: Path) -> None:
        self.sizes = sizes
        self.seconds = seconds
        self.path = path
        self.done = 0
        self.rounds = 0
        self._fit = self._train = self._mark = self.batch = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._fit = clock()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._train = clock()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.done += 1
        length = math.lcm(self.sizes, trainer.accumulate_grad_batches)
        rounds, rest = divmod(self.done, length)
        if rest or rounds not in (1, 2, 2 + self.rounds):
            return
        if pl_module.device.type != "cpu":
            torch.accelerator.synchronize(pl_module.device)
        took, self._mark = clock() - self._mark, clock()
        if rounds == 2:
            most = max(1, MOST_BATCHES // length)
            self.rounds = trainer.strategy.broadcast(min(most, max(1, int(self.seconds / took))))
        elif rounds > 2:
            self.batch = took / (self.rounds * length)
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            found = {"batch": self.batch, "batches": self.done, "validation": clock() - self._mark}
            with write_atomically(self.path, "w") as file:
                json.dump({**found, "idle": self._train - self._fit}, file)


def measured_lengths(
    modules: Mapping[str, StageTraining],
    stages: Mapping[str, Stage],
    data: MixtureDataModule,
    trainer: TrainerFactory,
    callbacks: CallbackFactory,
    folder: Path,
    budget: Budget,
) -> tuple[Lengths, dict[str, StageTimes]]:
    """The lengths with which a run ends within its budget, and the times from which they follow.

    Nothing that the training depends on changes: networks are copied, and the state of the random numbers is restored.

    Args:
        modules, stages: by the stages' names.
        data: of the run.
        trainer: makes a stage's trainer.
        callbacks: makes a stage's callbacks.
        folder: for checkpoints and curves, on the run's disk; it is removed.
        budget: the run's.

    Raises:
        ConfigError: the time is too short, or the trainer limits the batches of an epoch.
    """
    settings = getattr(trainer, "keywords", {})
    if settings.get("limit_train_batches") is not None:
        raise ConfigError(
            f"budget and trainer.limit_train_batches={settings['limit_train_batches']} both set the length of an "
            "epoch: leave one out."
        )
    without = [name for name, stage in stages.items() if stage.share is None]
    if without and len(without) < len(stages):
        raise ConfigError(
            f"stages.{without[0]}.share is not given, and other stages have one: give a share to all, or to none."
        )
    times, spent, accumulate, every = {}, 0.0, 1, 1
    share = MEASURING_SHARE * budget.seconds / len(stages)
    try:
        for name, module in modules.items():
            opened, times[name] = measure_stage(module, data, trainer, callbacks, folder, share)
            spent = opened.strategy.broadcast(clock() - budget.began)
            accumulate, every = opened.accumulate_grad_batches, opened.check_val_every_n_epoch or 1
    finally:
        if is_main_process():
            shutil.rmtree(folder, ignore_errors=True)
    lengths = fit_lengths(
        budget.seconds,
        spent,
        times,
        {name: stage.share or stage.epochs for name, stage in stages.items()},
        sum(stage.epochs for stage in stages.values()),
        data.batches.batch_size,
        accumulate,
        every,
    )
    return lengths, times


def measure_stage(
    module: StageTraining,
    data: MixtureDataModule,
    trainer_factory: TrainerFactory,
    callbacks: CallbackFactory,
    root: Path,
    seconds: float,
) -> tuple[L.Trainer, StageTimes]:
    """Trains a copy of a stage for some batches, validates it and writes its checkpoint and weights.

    Args:
        module: the stage's.
        data, trainer_factory, callbacks: of the run.
        root: the folder for what is written.
        seconds: of the batches that are measured.

    Returns:
        The trainer that was used, and the times, which the first process found.
    """
    began = clock()
    folder = root / module.name
    copied = copy.deepcopy(module)
    background, begun = Background(), Begun()
    stopwatch = Stopwatch(len(data.batches.sizes), seconds, folder / "times.json")
    used = [callback for callback in callbacks() if isinstance(callback, TAKING_TIME)]
    # A first look at a validation batch warms the validation up.
    factory = partial(trainer_factory, num_sanity_val_steps=1, enable_progress_bar=False)
    with isolate_rng(), data.measuring():
        trainer = stage_trainer(
            factory, copied, 1, [begun, *used, background, stopwatch], [CsvCurves(folder)], background, root
        )
        with clear_errors(copied, folder, begun=begun), closing(background):
            trainer.fit(copied, datamodule=data)
    trainer.strategy.barrier("the checkpoints are written")
    take_result(copied, folder)
    if trainer.is_global_zero:
        write_result(copied, folder, {})
    trainer.strategy.barrier("the stage's results are written")
    found = json.loads((folder / "times.json").read_text()) if trainer.is_global_zero else {}
    found = trainer.strategy.broadcast(found)
    others = found["idle"] + found["batches"] * found["batch"] + found["validation"]
    rest = max(0.0, clock() - began - others)
    return trainer, trainer.strategy.broadcast(StageTimes(found["batch"], found["validation"], rest))
