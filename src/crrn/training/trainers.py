"""The Lightning trainer of a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from crrn.errors import ConfigError
from crrn.nets import estimates_of
from crrn.private import find_unused_parameters
from crrn.training.background import Background
from crrn.training.checkpoints import AtomicCheckpointIO
from crrn.training.ema import EMA
from crrn.training.stage_training import StageTraining

TrainerFactory = Callable[..., L.Trainer]

SHARDED = ("fsdp", "deepspeed", "model_parallel", "modelparallel")
"""Beginnings of the names of strategies with which no process holds the whole network."""


def stage_trainer(
    factory: TrainerFactory,
    module: StageTraining,
    epochs: int,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    background: Background,
    root: Path,
) -> L.Trainer:
    """The trainer of a stage.

    Args:
        factory: makes it.
        module: what it trains.
        epochs: the length of the stage.
        callbacks: of the stage; the average of the weights is what the others see.
        loggers: of the stage.
        background: writes the checkpoints.
        root: the folder that the stage's folder is in.

    Raises:
        ConfigError: as `open_trainer`.
    """
    trainer = open_trainer(
        factory,
        fused=bool(module.optimizer.settings.get("fused")),
        max_epochs=epochs,
        callbacks=sorted(callbacks, key=lambda callback: not isinstance(callback, EMA | WeightAveraging)),
        logger=list(loggers),
        plugins=[AtomicCheckpointIO(background), *cluster()],
        default_root_dir=root,
        enable_model_summary=False,
    )
    if isinstance(trainer.strategy, DDPStrategy) and set(estimates_of(module.net)) - set(module.loss.layers):
        # The output layers of what no loss term looks at get no gradient, for which DDP would wait in vain.
        find_unused_parameters(trainer.strategy)
    return trainer


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
    """The SLURM plugin of Lightning's trainer, if SLURM starts the processes.

    Lightning would choose it itself, but with its own way of resuming after SLURM's warning. That way would load one
    stage's checkpoint into the next stage.
    """
    by_slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if by_slurm else []
