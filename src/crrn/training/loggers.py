"""Loggers beside the CSV file. One W&B run holds all stages of a run, each stage's curves under the stage's name."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from crrn.errors import ConfigError
from crrn.training.rundir import is_main_process

log = logging.getLogger(__name__)


def wandb_logger(
    stage: str,
    folder: Path,
    config: Mapping[str, Any],
    *,
    project: str,
    name: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "auto",
) -> WandbLogger:
    """Opens the run's W&B run, or goes on with the one that is open, and logs ``<stage>/...`` into it.

    Never asks: with ``mode=auto`` it works offline where nobody is logged in, and ``wandb sync`` uploads later.

    Args:
        stage: the stage's name.
        folder: the stage's folder; W&B's files go into ``wandb/`` beside it.
        config: the resolved settings, filterable in W&B.
        project: the W&B project.
        name: the run's name in W&B.
        group: runs of one sweep share it.
        tags: further tags.
        mode: "auto", "online" or "offline".
    """
    import wandb

    if mode not in ("auto", "online", "offline"):
        raise ConfigError(f"logger.wandb.mode={mode} is none of auto, online, offline.")
    if wandb.run is None and is_main_process():
        directory = folder.parent
        identity = directory / "wandb_id"
        if not identity.exists():
            identity.write_text(uuid.uuid4().hex[:8])
        wandb.init(
            project=project,
            name=name,
            group=group,
            tags=list(tags),
            dir=str(directory),
            id=identity.read_text().strip(),
            resume="allow",
            config=dict(config),
            mode=resolve_mode(mode),  # type: ignore[arg-type]
            settings=wandb.Settings(silent=True),
        )
    return WandbLogger(experiment=wandb.run, prefix=stage) if wandb.run else WandbLogger(offline=True)


def resolve_mode(mode: str) -> str:
    """What "auto" means on this machine: W&B's own setting, else online only where a key is stored."""
    if mode != "auto":
        return mode
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    import wandb

    logged_in = bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)
    if not logged_in:
        log.info("Nobody is logged in to W&B: logging offline; `wandb login` changes that, `wandb sync` uploads later.")
    return "online" if logged_in else "offline"


def tensorboard_logger(stage: str, folder: Path, config: Mapping[str, Any]) -> TensorBoardLogger:
    """Writes TensorBoard events into the stage's folder."""
    try:
        return TensorBoardLogger(folder, name=None, version="tensorboard")
    except ModuleNotFoundError as error:
        raise ConfigError("logger=tensorboard needs TensorBoard: pip install 'crrn[tensorboard]'.") from error


def close_loggers(failed: bool) -> None:
    """Ends the open W&B run: without it, the next job of a sweep would log into this one's."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(failed))
