"""Loggers beside the CSV file. One W&B run holds all stages of a run, each stage's curves under the stage's name."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

from crrn.errors import ConfigError
from crrn.files import write_atomically
from crrn.metrics.gain import HARM_RATE
from crrn.training.rundir import WEIGHTS, is_main_process
from crrn.training.validation import SETS

log = logging.getLogger(__name__)


class StageWandbLogger(WandbLogger):
    """Lightning's logger with names such as ``joint/val/background_ssim``: W&B groups its panels by the slashes."""

    LOGGER_JOIN_CHAR = "/"


def wandb_logger(
    stage: str,
    folder: Path,
    config: Mapping[str, Any],
    *,
    project: str,
    name: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "auto",
    log_weights: bool = False,
) -> StageWandbLogger:
    """Opens the run's W&B run, or goes on with the one that is open, and logs ``<stage>/...`` into it.

    A resumed run goes on with its own W&B run, whose id its directory keeps. Never asks: with ``mode=auto`` it works
    offline where nobody is logged in, and ``wandb sync`` uploads later. W&B's summary holds each loss's minimum and
    last value, and each validation metric's maximum and last.

    Args:
        stage: the stage's name.
        folder: the stage's folder; W&B's files go into ``wandb/`` beside it.
        config: the resolved settings, filterable in W&B.
        project: the W&B project.
        name: the run's name in W&B; None: the name of the run directory, which tells a sweep's jobs apart.
        group: runs of one sweep share it.
        job_type: what kind of run it is.
        tags: further tags.
        mode: "auto", "online" or "offline".
        log_weights: upload the final weights as an artifact of type "model".
    """
    import wandb

    if mode not in ("auto", "online", "offline"):
        raise ConfigError(f"logger.wandb.mode={mode} is none of auto, online, offline.")
    directory = folder.parent
    if wandb.run is None and is_main_process():
        identity = directory / "wandb_id"
        if not identity.exists():
            with write_atomically(identity, "w") as file:
                file.write(uuid.uuid4().hex[:8])
        run = wandb.init(
            project=project,
            name=name or directory.name,
            group=group,
            job_type=job_type,
            tags=list(tags),
            dir=str(directory),
            id=identity.read_text().strip(),
            resume="allow",
            config=dict(config),
            mode=resolve_mode(mode),  # type: ignore[arg-type]
            # A killed run loses what W&B has not yet written, 15 seconds by default.
            settings=wandb.Settings(silent=True, x_transaction_log_flush_interval=0.5),
        )
        run.define_metric("trainer/global_step")
    if wandb.run is not None:
        wandb.run.define_metric(f"{stage}/train/*", step_metric="trainer/global_step", summary="min,last")
        for prefix in SETS:
            wandb.run.define_metric(f"{stage}/{prefix}/*", step_metric="trainer/global_step", summary="max,last")
            harm = f"{stage}/{prefix}/{HARM_RATE}"
            wandb.run.define_metric(harm, step_metric="trainer/global_step", summary="min,last")
    if log_weights:
        _log_weights.add(directory)
    return StageWandbLogger(experiment=wandb.run, prefix=stage) if wandb.run else StageWandbLogger(offline=True)


_log_weights: set[Path] = set()
"""Run directories whose weights are to be uploaded when the run is done."""


def log_result(directory: Path, metrics: Mapping[str, float]) -> None:
    """Puts a finished run's metrics into the open W&B run's summary, and its weights where they were asked for."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    wandb.run.summary.update({f"final/{name.removeprefix('val/')}": value for name, value in metrics.items()})
    if directory in _log_weights:
        _log_weights.remove(directory)
        artifact = wandb.Artifact(f"weights-{wandb.run.id}", type="model", metadata=dict(metrics))
        artifact.add_file(str(directory / WEIGHTS))
        wandb.run.log_artifact(artifact)


def resolve_mode(mode: str) -> str:
    """What "auto" means on this machine: W&B's own setting, else online only where a key is stored."""
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    import wandb

    logged_in = wandb.login(prompt=False, verify=False)  # asks nobody and no server: is a key stored?
    if not logged_in:
        log.info("Nobody is logged in to W&B: logging offline; `wandb login` changes that, `wandb sync` uploads later.")
    return "online" if logged_in else "offline"


def tensorboard_logger(stage: str, folder: Path, config: Mapping[str, Any]) -> TensorBoardLogger:
    """Writes TensorBoard events into the stage's folder."""
    try:
        return TensorBoardLogger(folder, name=None, version="tensorboard")
    except ModuleNotFoundError as error:
        raise ConfigError("logger=tensorboard needs TensorBoard: pip install 'crrn[tensorboard]'.") from error


def mlflow_logger(
    stage: str, folder: Path, config: Mapping[str, Any], *, experiment: str, tracking_uri: str | None = None
) -> MLFlowLogger:
    """Logs into an MLflow experiment, one MLflow run for each stage; a resumed stage goes on with its own.

    Args:
        stage: the stage's name.
        folder: the stage's folder; it keeps the MLflow run's id.
        config: the resolved settings.
        experiment: the experiment's name.
        tracking_uri: a server or database; None: ``mlflow.db`` beside the run directories.
    """
    identity = folder / "mlflow_id"
    known = identity.read_text().strip() if identity.exists() else None
    try:
        logger = MLFlowLogger(
            experiment_name=experiment,
            run_name=f"{folder.parent.name}-{stage}",
            tracking_uri=tracking_uri or f"sqlite:///{folder.parents[1] / 'mlflow.db'}",
            run_id=known,
        )
    except ModuleNotFoundError as error:
        raise ConfigError("logger=mlflow needs MLflow: pip install 'crrn[mlflow]'.") from error
    if known is None and is_main_process():
        logger.log_hyperparams(dict(config))
        with write_atomically(identity, "w") as file:
            file.write(str(logger.run_id))
    return logger


def close_loggers(failed: bool) -> None:
    """Ends the open W&B run: without it, the next job of a sweep would log into this one's."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(failed))
