"""The stages of a run, one after the other, as the network names them: GiN, then all of CRRN (paper section 4.3)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from safetensors.torch import load_file, save
from torch import nn

from crrn.allocator import keep_freed_memory
from crrn.data import MixtureDataModule
from crrn.errors import CheckpointError, ConfigError
from crrn.files import write_atomically
from crrn.losses import ReconstructionLoss
from crrn.nets import estimates_of, save_network
from crrn.nets.initial import Init, is_given, load_initial, load_state
from crrn.nets.network import stages_of
from crrn.nets.record import describe, find_record
from crrn.nets.state import mismatches
from crrn.nets.weights import read_weights
from crrn.private import find_unused_parameters
from crrn.records import read_json
from crrn.training.background import Background
from crrn.training.callbacks import CallbackFactory, standard_callbacks
from crrn.training.checkpoints import AtomicCheckpointIO, Checkpoints
from crrn.training.curves import CsvCurves
from crrn.training.early_stopping import Patience
from crrn.training.ema import EMA
from crrn.training.guards import Begun, clear_errors
from crrn.training.modules import StageTraining
from crrn.training.optimizers import Optimizer
from crrn.training.recovery import BEST, LAST, go_back, newest_checkpoint
from crrn.training.rundir import INIT, WEIGHTS, RunDirectory
from crrn.training.schedules import Schedule
from crrn.training.validation import refuse_missing_pairs

log = logging.getLogger(__name__)

TrainerFactory = Callable[..., L.Trainer]
LoggerFactory = Callable[[str, Path, Mapping[str, Any]], Logger]

RESULT = "result.json"
"""The validation metrics of a stage's result; its presence says that the stage is complete."""
SHARDED = ("fsdp", "deepspeed", "model_parallel", "modelparallel")
"""Beginnings of the names of strategies with which no process holds the whole network."""
RESULTS = {"last": LAST, "best": BEST}
"""The checkpoint that a stage's setting ``result`` names."""


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
    """

    epochs: int
    learning_rate: float
    schedule: Schedule
    loss: ReconstructionLoss
    monitor: str | None = None
    early_stopping: int | None = None
    result: str = "last"

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
        if self.result not in RESULTS:
            raise ConfigError(f"A stage's result={self.result!r} is unknown: give {' or '.join(RESULTS)}.")
        if isinstance(self.loss, dict):  # what an override of a key that is not there leaves of a reference
            raise ConfigError(
                f"A stage's loss has no setting {', '.join(map(str, self.loss))}; the joint stage's terms are set as "
                "in loss.background.l1=2."
            )
        # A schedule that does not fit its stage must fail now, not when the stage begins hours later.
        self.schedule(
            torch.optim.SGD([nn.Parameter(torch.zeros(1))], self.learning_rate), steps_per_epoch=1, epochs=self.epochs
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
) -> dict[str, float]:
    """Trains ``net`` through ``stages`` in place and writes all results into the run directory.

    A stage whose ``weights.safetensors`` is there is complete and is not trained again; one with checkpoints goes on
    from the newest whole one.

    Args:
        net: any network, see :mod:`crrn.nets.network`. It has a record.
        stages: by name, some or all of the network's, in this order.
        data: the mixtures.
        optimizer: of all stages.
        trainer: called with the callbacks, loggers and length of a stage.
        run: an open run directory.
        callbacks: makes the callbacks of each stage; None: `standard_callbacks`.
        loggers: further loggers, each called with the stage's name, its folder and the run's config.
        init: weights to begin with, see :func:`crrn.nets.initial.load_initial`. A stage before the last is left out
            where a file gives the weights of its part. A resumed run keeps what it began with.
        non_finite: "stop" at a loss that is not finite, or "skip" the step and count it.
        last_callbacks: further callbacks of the last stage.

    Returns:
        The validation metrics of the last stage's result, such as ``val/background_ssim``.

    Raises:
        ConfigError: a stage, ``init`` or the optimizer does not fit the network, or a stage monitors pairs that the
            data does not have.
        WeightsError: a file of ``init`` is missing or does not fit.
        CheckpointError: the run is to go back to a checkpoint before stages that have begun.
    """
    keep_freed_memory()
    parts = {name: part_of(net, name) for name in stages}
    prefixes = {name: name_in(net, part) for name, part in parts.items()}
    last = list(stages)[-1]
    stages = {name: stage for name, stage in stages.items() if name == last or not is_given(init, prefixes[name])}
    optimizer.check([module for name in stages for module in module_names(parts[name], prefixes[name])])
    begin(net, init, run)
    metrics: dict[str, float] = {}
    data.first_epoch = 0
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
        )
        refuse_missing_pairs(modules[name].monitor, data, f"stages.{name}.monitor")
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
            own = [*(callbacks or standard_callbacks())(), *more]
            metrics = fit_stage(module, stage, data, trainer, run, own, loggers or {})
        data.first_epoch += stage.epochs
    if run.writes:
        save_network(net, run.path / WEIGHTS)
    return metrics


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
    # The average of the weights is what the others see.
    used.sort(key=lambda callback: not isinstance(callback, EMA | WeightAveraging))
    trainer = open_trainer(
        trainer_factory,
        fused=bool(module.optimizer.settings.get("fused")),
        max_epochs=stage.epochs,
        callbacks=used,
        logger=[CsvCurves(folder), *(make(module.name, folder, run.config) for make in loggers.values())],
        plugins=[AtomicCheckpointIO(background), *cluster()],
        default_root_dir=run.path,
        enable_model_summary=False,
    )
    if isinstance(trainer.strategy, DDPStrategy) and set(estimates_of(module.net)) - set(module.loss.layers):
        # The output layers of what no loss term looks at get no gradient, for which DDP would wait in vain.
        find_unused_parameters(trainer.strategy)
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
    if trainer.current_epoch < stage.epochs:
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
        save_part(module.net, folder / WEIGHTS)
        with write_atomically(folder / RESULT, "w") as file:
            json.dump(metrics, file, indent=2)
    trainer.strategy.barrier("the stage's results are written")
    return metrics


def open_trainer(factory: TrainerFactory, fused: bool = False, **settings: Any) -> L.Trainer:
    """The trainer of a stage.

    Args:
        factory: makes it.
        fused: whether the optimizer unscales gradients itself.
        settings: the run's own.

    Raises:
        ConfigError: Lightning refuses a setting, or one is given that is the run's own.
    """
    own = settings.keys() & getattr(factory, "keywords", {}).keys()
    if own:
        raise ConfigError(
            f"trainer.{min(own)} is set by the run itself: leave it out. A stage's length is stages.NAME.epochs, the "
            "run's place is run_root=DIR and name=NAME, loggers are logger=NAME."
        )
    strategy = getattr(factory, "keywords", {}).get("strategy")
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if name.lower().startswith(SHARDED):
        raise ConfigError(
            f"trainer.strategy={name} spreads the weights over the devices, which crrn's checkpoints, averages and "
            "guards do not support: give trainer.strategy=ddp. Each device then holds the whole network, with its "
            "optimizer 1 GB at width 1."
        )
    try:
        trainer = factory(**settings)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"Lightning refuses a setting of trainer: {error}") from error
    if trainer.accumulate_grad_batches < 1:
        raise ConfigError(f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches} is not 1 or more.")
    if trainer.gradient_clip_val and getattr(trainer.precision_plugin, "scaler", None) is not None and fused:
        raise ConfigError(
            "trainer.gradient_clip_val does not work with trainer.precision=16-mixed and a fused optimizer: give "
            "trainer.precision=bf16-mixed, or optimizer.fused=false."
        )
    return trainer


def cluster() -> list[SLURMEnvironment]:
    """A plugin of Lightning's trainer where SLURM starts the processes, as it would choose itself, but without its own
    way to resume after SLURM's warning: that takes one stage's checkpoint for the next one's.
    """
    by_slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if by_slurm else []


def refuse_later_stages(run: RunDirectory, chosen: Path, later: Sequence[str]) -> None:
    """Raises a CheckpointError where a stage has begun that would have to be trained anew after going back."""
    for name in later:
        if run.stage(name).exists():
            raise CheckpointError(
                f"resume={chosen} goes back to before stage {name}, which began with what came of it later; move "
                f"{run.stage(name)} away to train that stage anew, or go on where the run stopped by resume=auto."
            )


def take_result(module: StageTraining, folder: Path, result: str = "last") -> dict[str, float]:
    """Puts the stage's final weights into its network and returns their validation metrics, both from its last or its
    best checkpoint.

    The checkpoint, not the trainer's memory, is the result: it holds the averaged weights where averaging is on, and
    it is the same whether or not the run was stopped after its last step.

    Raises:
        CheckpointError: there is no best checkpoint, as no validation gave a number.
    """
    if not (folder / RESULTS[result]).exists():
        raise CheckpointError(
            f"{folder} has no {RESULTS[result]}: no validation gave a number for {module.monitor}. Give "
            f"stages.{module.name}.result=last, or trainer.limit_val_batches=null."
        )
    checkpoint = torch.load(folder / RESULTS[result], map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    metrics: dict[str, float] = checkpoint["callbacks"][Checkpoints.__name__]["metrics"]
    return metrics


def take_finished(net: nn.Module, folder: Path) -> dict[str, float]:
    """Puts the weights of a stage that is complete into its network and returns their validation metrics.

    Raises:
        CheckpointError: the weights are another network's.
        RunError: the metrics cannot be read.
    """
    state = read_weights(folder / WEIGHTS)[1]
    wrong = mismatches(net.state_dict(), state)
    if wrong:
        raise CheckpointError(
            f"{folder / WEIGHTS} is of another network than this run's ({len(wrong)} weights differ, {wrong[0]!r} "
            "first): give the settings of net= that the run was started with, or start another by name=NEW."
        )
    net.load_state_dict(state)
    metrics: dict[str, float] = read_json(folder / RESULT, {str: float}, f"remove {folder} to train the stage again")
    return metrics


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


def save_part(part: nn.Module, path: Path) -> None:
    """Writes the weights of what a stage trained: a network, or a module in one that has no record of its own."""
    if find_record(part) is not None:
        save_network(part, path)
        return
    with write_atomically(path) as file:
        file.write(save({name: value.contiguous() for name, value in part.state_dict().items()}))


def name_in(net: nn.Module, part: nn.Module) -> str:
    """The name of a part of a network among its modules; empty for the network itself."""
    return next(name for name, module in net.named_modules() if module is part)


def module_names(part: nn.Module, prefix: str) -> list[str]:
    """The names of a part's modules in the network that it is a part of."""
    return [".".join(filter(None, (prefix, name))) for name, _ in part.named_modules()]


def begin(net: nn.Module, init: Init, run: RunDirectory) -> None:
    """Puts the first weights into a network, and notes in ``run.json`` where they came from.

    The run keeps what was loaded: a resumed run needs neither the files nor the network for it.

    Raises:
        ConfigError, WeightsError: as :func:`crrn.nets.initial.load_initial`.
    """
    kept = run.path / INIT
    if run.known is not None and "init" in run.known:
        if kept.exists():
            load_state(net, load_file(kept))
        return
    loaded = load_initial(net, init)
    if run.writes:
        kept.unlink(missing_ok=True)
        if loaded.state:
            with write_atomically(kept) as file:
                file.write(save(loaded.state))
    run.note(init=loaded.sources)
    for part, source in loaded.sources.items():
        log.info("%s starts from %s (digest %s)", part, source["source"], source["digest"])
