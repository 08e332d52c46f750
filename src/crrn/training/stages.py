"""The stages of a run, one after the other, as the network names them: GiN, then all of CRRN (paper section 4.3)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from safetensors.torch import load_file, save
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from crrn.allocator import keep_freed_memory
from crrn.data import MixtureDataModule
from crrn.errors import CheckpointError, ConfigError, kind_of
from crrn.files import write_atomically
from crrn.losses import ReconstructionLoss
from crrn.nets import save_network
from crrn.nets.initial import Init, is_given, load_initial, load_state
from crrn.nets.network import stages_of
from crrn.nets.prediction import Prediction, prediction_from, set_prediction
from crrn.nets.record import describe, find_record
from crrn.training.background import Background
from crrn.training.budget import SAMPLES, Budget, describe_lengths, epochs_setting
from crrn.training.callbacks import CallbackFactory, standard_callbacks
from crrn.training.curves import CsvCurves
from crrn.training.early_stopping import Patience
from crrn.training.guards import Begun, clear_errors
from crrn.training.measure import measured_lengths
from crrn.training.optimizers import Optimizer
from crrn.training.recovery import go_back, newest_checkpoint
from crrn.training.results import RESULT, RESULTS, take_finished, take_result, write_result
from crrn.training.rundir import INIT, MEASURING, WEIGHTS, RunDirectory
from crrn.training.schedules import Schedule
from crrn.training.stage_training import StageTraining
from crrn.training.trainers import TrainerFactory, stage_trainer
from crrn.training.validation import refuse_missing_pairs

log = logging.getLogger(__name__)

LoggerFactory = Callable[[str, Path, Mapping[str, Any]], Logger]


@dataclass(frozen=True)
class Stage:
    """One stage's settings.

    Attributes:
        epochs: its length.
        learning_rate: its peak learning rate.
        schedule: how the rate moves; see :mod:`crrn.training.schedules`.
        loss: the weighted terms.
        monitor: the validation metric that chooses ``best.ckpt``, see :mod:`crrn.training.validation`; None: the
            network's own, such as background SSIM.
        early_stopping: ends the stage after so many validations in a row without a better value of ``monitor``; None:
            never.
        result: which checkpoint is the stage's result, "last" or "best".
        share: the part of a budget's steps that the stage gets; None: in proportion to its epochs. All stages of a run
            have it, or none. Only their proportions count.
    """

    epochs: int
    learning_rate: float
    schedule: Schedule
    loss: ReconstructionLoss
    monitor: str | None = None
    early_stopping: int | None = None
    result: str = "last"
    share: float | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.learning_rate <= 0:
            raise ConfigError(
                f"A stage needs at least one epoch and a positive learning rate, not epochs={self.epochs} and "
                f"learning_rate={self.learning_rate}; leave a stage out by stages=gin, say, or stages.order=[joint]."
            )
        if self.early_stopping is not None and not (isinstance(self.early_stopping, int) and self.early_stopping > 0):
            raise ConfigError(
                f"A stage's early_stopping={self.early_stopping} is not a number of validations: give 1 or more, or "
                "null to train the whole stage."
            )
        if self.share is not None and not (isinstance(self.share, int | float) and 0 < self.share < math.inf):
            raise ConfigError(f"A stage's share={self.share} is not a part of the run: give e.g. 0.25, or null.")
        if self.result not in RESULTS:
            raise ConfigError(f"A stage's result={self.result!r} is unknown: give {' or '.join(RESULTS)}.")
        if isinstance(self.loss, dict):  # what an override of a key that is not there leaves of a reference
            raise ConfigError(
                f"A stage's loss has no setting {', '.join(map(str, self.loss))}; the joint stage's terms are set as "
                "in loss.background.l1=2."
            )
        # A schedule that does not fit its stage must fail now, not when the stage begins hours later.
        probe = torch.optim.SGD([nn.Parameter(torch.zeros(1))], self.learning_rate)
        scheduler = self.schedule(probe, steps_per_epoch=1, epochs=self.epochs)
        if not isinstance(scheduler, LRScheduler):
            raise ConfigError(
                f"A stage's schedule gives {kind_of(scheduler)}: return a scheduler of torch.optim.lr_scheduler."
            )


def train_stages(
    net: nn.Module,
    stages: Mapping[str, Stage],
    data: MixtureDataModule,
    optimizer: Optimizer,
    trainer: TrainerFactory,
    run: RunDirectory,
    *,
    callbacks: CallbackFactory | None = None,
    loggers: Mapping[str, LoggerFactory] | None = None,
    init: Init = None,
    non_finite: str = "stop",
    last_callbacks: Sequence[Callback] = (),
    compile: bool = False,
    budget: Budget | None = None,
) -> dict[str, float]:
    """Trains ``net`` through ``stages`` in place and writes all results into the run directory.

    A stage with ``weights.safetensors`` is complete and is not trained again. A stage with checkpoints is resumed from
    the newest complete one.

    Args:
        net: any network, see :mod:`crrn.nets.network`. It has a record.
        stages: by name, some or all of the network's, in this order.
        data: the mixtures.
        optimizer: of all stages.
        trainer: called with the callbacks, loggers and length of a stage.
        run: an open run directory.
        callbacks: makes the callbacks of each stage; None: `standard_callbacks`.
        loggers: further loggers, each called with the stage's name, its folder and the run's config.
        init: initial weights, see :func:`crrn.nets.initial.load_initial`. A stage before the last is left out if a file
            gives the weights of its part. A resumed run keeps its initial weights.
        non_finite: "stop" at a loss that is not finite, or "skip" the step and count it.
        last_callbacks: further callbacks of the last stage.
        compile: whether each training step's forward pass and loss are compiled.
        budget: the time that the run may take. The stages' epochs and the samples of an epoch follow from measured
            steps. A resumed run keeps the lengths in its record.

    Returns:
        The validation metrics of the last stage's result, such as ``val/background_ssim``.

    Raises:
        ConfigError: a stage, ``init`` or the optimizer does not fit the network; a stage monitors pairs that the data
            does not have; the budget is too short.
        WeightsError: a file of ``init`` is missing or does not fit.
        CheckpointError: ``resume`` names a checkpoint of a stage, and later stages have begun.
    """
    keep_freed_memory()
    modules = stage_modules(net, stages, data, optimizer, init, non_finite, compile)
    stages = {name: stages[name] for name in modules}
    last = list(stages)[-1]
    begin(net, init, run)
    metrics: dict[str, float] = {}
    callbacks = callbacks or standard_callbacks()
    stages = settle_lengths(modules, stages, data, trainer, callbacks, run, budget)
    data.first_epoch = 0
    for number, (name, stage) in enumerate(stages.items()):
        module = modules[name]
        folder = run.stage(name)
        chosen = run.checkpoint_for(name)
        if chosen is not None:
            refuse_later_stages(run, chosen, list(stages)[number + 1 :])
            if run.writes:
                (folder / RESULT).unlink(missing_ok=True)
                go_back(folder, chosen)
        if (folder / RESULT).exists() and chosen is None:
            metrics = take_finished(module.net, folder)
            log.info("Stage %s is complete: %s", name, folder / WEIGHTS)
        else:
            more = last_callbacks if name == last else ()
            data.epochs = stage.epochs
            own = [*callbacks(), *more]
            metrics = fit_stage(module, stage, data, trainer, run, own, loggers or {})
        data.first_epoch += stage.epochs
    if run.writes:
        save_network(net, run.path / WEIGHTS)
    return metrics


def stage_modules(
    net: nn.Module,
    stages: Mapping[str, Stage],
    data: MixtureDataModule,
    optimizer: Optimizer,
    init: Init = None,
    non_finite: str = "stop",
    compile: bool = False,
) -> dict[str, StageTraining]:
    """What is trained in each stage, without the stages before the last whose weights are given.

    Raises:
        ConfigError: as `train_stages`.
    """
    parts = {name: part_of(net, name) for name in stages}
    prefixes = {name: name_in(net, part) for name, part in parts.items()}
    last = list(stages)[-1]
    stages = {name: stage for name, stage in stages.items() if name == last or not is_given(init, prefixes[name])}
    optimizer.check([module for name in stages for module in module_names(parts[name], prefixes[name])])
    modules = {}
    for name, stage in stages.items():
        modules[name] = StageTraining(
            parts[name],
            stage.loss,
            optimizer,
            stage.learning_rate,
            stage.schedule,
            stage.monitor,
            non_finite,
            name,
            prefixes[name],
            compile,
        )
        refuse_missing_pairs(modules[name].monitor, data, f"stages.{name}.monitor")
    return modules


def settle_lengths(
    modules: Mapping[str, StageTraining],
    stages: Mapping[str, Stage],
    data: MixtureDataModule,
    trainer: TrainerFactory,
    callbacks: CallbackFactory,
    run: RunDirectory,
    budget: Budget | None,
) -> Mapping[str, Stage]:
    """The stages with the lengths in the run's record. If the record has none, a budget gives them and they are
    recorded. Sets the data's samples of an epoch.

    Raises:
        ConfigError: the budget is too short, or the run began without it or with other stages.
    """
    if run.settled is None and budget is None:
        return stages
    if run.settled is None:
        if run.known is not None:
            raise ConfigError(
                f"{run.path} was begun without a budget: leave budget out to go on with it, or start another run by "
                "name=NEW."
            )
        assert budget is not None
        lengths, times = measured_lengths(modules, stages, data, trainer, callbacks, run.path / MEASURING, budget)
        run.settle(
            lengths.settings(),
            seconds=budget.seconds,
            measured={name: {k: round(v, 6) for k, v in time._asdict().items()} for name, time in times.items()},
        )
        log.info("%s", describe_lengths(lengths, times, data.batches.batch_size))
    settings = run.settled or {}
    missing = [name for name in stages if epochs_setting(name) not in settings]
    if missing:
        raise ConfigError(
            f"The record of {run.path} has no length for the stage {missing[0]}: give the stages that the run was "
            "started with, or start another by name=NEW."
        )
    return with_lengths(stages, data, settings)


def with_lengths(stages: Mapping[str, Stage], data: MixtureDataModule, settings: Mapping[str, int]) -> dict[str, Stage]:
    """The stages with the numbers of epochs in ``settings``; sets the data's samples of an epoch."""
    data.batches = replace(data.batches, samples_per_epoch=settings[SAMPLES])
    return {name: replace(stage, epochs=settings[epochs_setting(name)]) for name, stage in stages.items()}


def fit_stage(
    module: StageTraining,
    stage: Stage,
    data: MixtureDataModule,
    trainer_factory: TrainerFactory,
    run: RunDirectory,
    callbacks: Sequence[Callback | None],
    loggers: Mapping[str, LoggerFactory],
) -> dict[str, float]:
    """Trains one stage from its start or from its newest checkpoint, and saves its weights."""
    folder = run.stage(module.name)
    checkpoint = run.checkpoint_for(module.name) or newest_checkpoint(folder)
    background, begun = Background(), Begun()
    used = [begun, *(callback for callback in callbacks if callback is not None), background]
    if stage.early_stopping is not None:
        used.insert(0, Patience(module.monitor, stage.early_stopping))
    curves = [CsvCurves(folder), *(make(module.name, folder, run.config) for make in loggers.values())]
    trainer = stage_trainer(trainer_factory, module, stage.epochs, used, curves, background, run.path)
    log.info(
        "Stage %s: %s, %.1f M parameters, %d epochs%s%s",
        module.name,
        describe(find_record(module.net)),
        sum(parameter.numel() for parameter in module.net.parameters()) / 1e6,
        stage.epochs,
        f" on {trainer.world_size} devices" if trainer.world_size > 1 else "",
        f", going on from {checkpoint}" if checkpoint else "",
    )
    with clear_errors(module, folder, checkpoint, begun), closing(background):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    # A trainer whose processes were spawned does not know afterwards how far they came.
    if stage.early_stopping is not None and 0 < trainer.current_epoch < stage.epochs:
        log.info(
            "Stage %s ends after epoch %d: %s validations without a better %s.",
            module.name,
            trainer.current_epoch,
            stage.early_stopping,
            module.monitor,
        )
    trainer.strategy.barrier("the checkpoints are written")
    metrics = take_result(module, folder, stage.result)
    if trainer.is_global_zero:
        write_result(module, folder, metrics)
    trainer.strategy.barrier("the stage's results are written")
    return metrics


def refuse_later_stages(run: RunDirectory, chosen: Path, later: Sequence[str]) -> None:
    """Raises a CheckpointError where a stage has begun that would have to be trained anew after going back."""
    for name in later:
        if run.stage(name).exists():
            raise CheckpointError(
                f"resume={chosen} goes back to before stage {name}, which began with what came of it later; move "
                f"{run.stage(name)} away to train that stage anew, or go on where the run stopped by resume=auto."
            )


def part_of(net: nn.Module, stage: str) -> nn.Module:
    """The part of the network that a stage trains.

    Raises:
        ConfigError: the network has no such stage.
    """
    parts = stages_of(net)
    if stage not in parts:
        raise ConfigError(
            f"Stage '{stage}' cannot train {describe(find_record(net))}; choose stages.order=[{','.join(parts)}] or "
            "another net."
        )
    return parts[stage]


def name_in(net: nn.Module, part: nn.Module) -> str:
    """The name of a part of a network among its modules; empty for the network itself."""
    return next(name for name, module in net.named_modules() if module is part)


def module_names(part: nn.Module, prefix: str) -> list[str]:
    """The names of a part's modules in the network that it is a part of."""
    return [".".join(filter(None, (prefix, name))) for name, _ in part.named_modules()]


def begin(net: nn.Module, init: Init, run: RunDirectory) -> None:
    """Puts the first weights into a network, and notes in ``run.json`` where they came from.

    Where ``init`` gives the whole network, its prediction settings stay those of the trained one. The run keeps what
    was loaded: a resumed run needs neither the files nor the network for it.

    Raises:
        ConfigError, WeightsError: as :func:`crrn.nets.initial.load_initial`.
    """
    kept = run.path / INIT
    if run.known is not None and "init" in run.known:
        if kept.exists():
            load_state(net, load_file(kept))
        set_prediction(net, prediction_from(run.known))
        return
    loaded = load_initial(net, init)
    if run.writes:
        kept.unlink(missing_ok=True)
        if loaded.state:
            with write_atomically(kept) as file:
                file.write(save(loaded.state))
    set_prediction(net, loaded.prediction)
    run.note(init=loaded.sources, prediction=loaded.prediction.record())
    for part, source in loaded.sources.items():
        log.info("%s starts from %s (digest %s)", part, source["source"], source["digest"])
    if loaded.prediction != Prediction():
        log.info("The trained network works at %s unless told otherwise", loaded.prediction.describe())
