"""``python -m src.train``: trains a network, one stage after the other.

torch and all that needs it are imported when the config is known to be good, so that ``--help`` and a mistyped key
answer at once.
"""

from __future__ import annotations

import logging
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from crrn.cli.config import build, config_folder, refuse_unknown, register_resolvers, settings_of
from crrn.errors import CrrnError

log = logging.getLogger(__name__)


def main() -> None:
    """The command. Exits with status 1 if a job failed."""
    register_resolvers()
    failures: list[CrrnError] = []
    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="train")(
        partial(job, failures=failures)
    )()
    sys.exit(1 if failures else 0)


def job(cfg: DictConfig, failures: list[CrrnError]) -> float:
    """One job: a single run, or one of a sweep.

    An error that the user's input caused is printed as one sentence and kept in ``failures``; the other jobs of a
    sweep go on.

    Returns:
        The monitored validation metric, for sweepers; NaN for a failed job.
    """
    try:
        settings = settings_of(cfg, train)
        folder = Path(HydraConfig.get().runtime.output_dir)
        return train(**settings, folder=folder, config_yaml=OmegaConf.to_yaml(cfg, resolve=True))
    except CrrnError as error:
        failures.append(error)
        print(f"error: {error}", file=sys.stderr)
        return math.nan


def quieten(*names: str) -> None:
    """Lets a library's own log speak only of problems, and only once: its handler would repeat what Hydra's prints."""
    for name in names:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.WARNING)


def train(
    *,
    name: str,
    run_root: str,
    ablation: str,
    seed: int,
    resume: str | None,
    gin_checkpoint: str | None,
    ema_decay: float | None,
    net: dict[str, Any],
    data: dict[str, Any],
    mixing: dict[str, Any],
    loss: dict[str, Any],
    optimizer: dict[str, Any],
    stages: dict[str, Any],
    trainer: dict[str, Any],
    logger: dict[str, Any],
    watching: dict[str, Any],
    folder: Path = Path(),
    config_yaml: str = "",
) -> float:
    """Builds what the settings name and trains it; the parameters are the keys of ``conf/train.yaml``."""
    config = {key: value for key, value in locals().items() if key not in ("folder", "config_yaml")}
    refuse_unknown(stages, ["order", "gin", "joint"], "stages", "stages")
    refuse_unknown(dict.fromkeys(stages["order"]), ["gin", "joint"], "stages.order", "stages.order")

    import lightning.pytorch as L
    import torch

    from crrn.training import RunDirectory, train_stages
    from crrn.training.loggers import close_loggers
    from crrn.training.rundir import is_main_process
    from crrn.training.summary import write_summary

    quieten("lightning.pytorch", "lightning.fabric")
    # A network that starts as the identity works on denormals at first, which CPUs do ten times slower.
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("high")
    L.seed_everything(seed, verbose=False)

    run = RunDirectory(folder, resume, config, config_yaml, writes=is_main_process())
    datamodule = build(data, "data")
    datamodule.setup()
    run.note(data=datamodule.summary())
    network = build(net, "net")
    failed = True
    try:
        metrics = train_stages(
            network,
            {stage: build(stages[stage], f"stages.{stage}") for stage in stages["order"]},
            datamodule,
            build(optimizer, "optimizer"),
            build(trainer, "trainer"),
            run,
            watching=build(watching, "watching"),
            ema_decay=ema_decay,
            loggers={key: build(node, f"logger.{key}") for key, node in logger.items()},
            gin_checkpoint=gin_checkpoint,
        )
        failed = False
    finally:
        close_loggers(failed)
    if run.writes:
        write_summary(run, metrics, f"{name}: {folder}")
    return metrics.get("val/background_ssim", metrics.get("val/gradient_si", math.nan))
