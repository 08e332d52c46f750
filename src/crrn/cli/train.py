"""``crrn train``: trains a network, one stage after the other.

torch is imported only after the config is checked. ``--help`` and a mistyped key are therefore answered at once.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from crrn.cli.config import (
    build,
    check_targets,
    known_stages,
    process_rank,
    refuse_replaced,
    refuse_unknown,
    register_resolvers,
    run_hydra,
    settings_of,
)
from crrn.cli.sweeps import SweepCallback, record_job, refuse_shared_processes
from crrn.errors import ConfigError, CrrnError, Pruned

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from torch import nn

log = logging.getLogger(__name__)

# At import, not in main(): a launcher's jobs begin in processes of their own, which import this module alone.
register_resolvers()


def main() -> None:
    """The command. Exits with status 1 if a job failed."""
    failures: list[CrrnError] = []
    SweepCallback.failed = 0
    refuse_replaced(sys.argv[1:])
    run_hydra("train", partial(job, failures=failures))
    sys.exit(1 if failures or SweepCallback.failed else 0)


def job(cfg: DictConfig, failures: list[CrrnError]) -> float:
    """One job: a single run, or one of a sweep.

    An error in the user's input is printed as one sentence and added to ``failures``. The other jobs of a sweep go on
    after any error.

    Returns:
        The monitored validation metric, for sweepers; NaN for a failed job.
    """
    hydra_cfg = HydraConfig.get()
    folder = Path(os.path.relpath(hydra_cfg.runtime.output_dir))
    in_sweep = hydra_cfg.mode == RunMode.MULTIRUN
    began = time.monotonic()
    status, problem, value = "done", "", math.nan
    try:
        if in_sweep:
            refuse_shared_processes(cfg.trainer, hydra_cfg.launcher)
        settings = settings_of(cfg, train)
        if cfg.budget is not None:
            refuse_given_lengths(hydra_cfg.overrides.task)
        value = train(**settings, folder=folder, config_yaml=OmegaConf.to_yaml(cfg, resolve=True), began=began)
    except Pruned as reason:
        status, problem = "pruned", str(reason)
        log.info("%s", reason)
    except CrrnError as error:
        status, problem = "failed", str(error)
        failures.append(error)
        print(f"error: {error}", file=sys.stderr)
    except Exception as error:
        if not in_sweep:
            raise
        status, problem = "failed", f"{type(error).__name__}: {error}"
        traceback.print_exc()
    if in_sweep and process_rank() == 0:
        summary = folder / "summary.json"
        metrics = json.loads(summary.read_text()) if status == "done" and summary.exists() else {}
        overrides = list(hydra_cfg.overrides.task)
        seconds = time.monotonic() - began
        record_job(
            folder, Path(hydra_cfg.sweep.dir), int(hydra_cfg.job.num), overrides, status, seconds, metrics, problem
        )
    return value


def refuse_given_lengths(overrides: Sequence[str]) -> None:
    """Raises a ConfigError where the command line gives a length that a budget fixes."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        value = None if override.is_delete() else override.value()
        for name in dotted(value, str(override.key_or_group)):
            if re.fullmatch(r"stages\.\w+\.epochs|data\.batches\.samples_per_epoch", name):
                raise ConfigError(
                    f"budget and {name} both set the length of the run: leave out {name}, or give it without budget."
                )


def dotted(value: Any, name: str) -> Iterator[str]:
    """The dotted names of all values in a value of that name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from dotted(inner, f"{name}.{key}")
    else:
        yield name


def seconds_of(budget: str | None) -> float | None:
    """The seconds of a time such as 90s, 10min, 1.5h.

    Raises:
        ConfigError: it is not such a time.
    """
    if budget is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)", str(budget))
    seconds = float(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]] if match else 0.0
    if not seconds:
        raise ConfigError(f"budget={budget} is not a time: give a number and its unit, as in budget=90s, 10min or 2h.")
    return seconds


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
    width: float,
    seed: int,
    resume: str | None,
    init: str | dict[str, str | None] | None,
    budget: str | None,
    ema_decay: float | None,
    callbacks: dict[str, Any],
    non_finite: str,
    net: dict[str, Any],
    data: dict[str, Any],
    mixing: dict[str, Any],
    loss: dict[str, Any],
    optimizer: dict[str, Any],
    stages: dict[str, Any],
    trainer: dict[str, Any],
    logger: dict[str, Any],
    logging: dict[str, Any],
    pruning: dict[str, Any] | None,
    compile: bool,
    channels_last: bool,
    tf32: bool,
    dry_run: bool,
    folder: Path = Path(),
    config_yaml: str = "",
    began: float | None = None,
) -> float:
    """Builds what the settings name and trains it; the parameters are the keys of ``conf/train.yaml``."""
    config = {key: value for key, value in locals().items() if key not in ("folder", "config_yaml", "began")}
    seconds = seconds_of(budget)
    there = [stage for stage, node in stages.items() if isinstance(node, dict) and "_target_" in node]
    refuse_unknown(stages, ["order", *there, *known_stages()], "stages", "stages")
    refuse_unknown(dict.fromkeys(stages["order"] or ()), there, "stages.order", "stages.order")
    for key, node in config.items():
        check_targets(node, key)
    for key, node in callbacks.items():
        if not (node is None or (isinstance(node, dict) and "_target_" in node)):
            raise ConfigError(
                f"callbacks.{key} is not a callback: give callbacks.{key}._target_=CLASS, or null for none."
            )
    for key, node in logger.items():
        if not (isinstance(node, dict) and "_target_" in node):
            raise ConfigError(
                f"logger.{key} is not a logger; choose logger=wandb, logger=tensorboard or logger=mlflow."
            )

    import lightning.pytorch as L
    import torch

    from crrn.nets.network import stages_of
    from crrn.training import Budget, RunDirectory, train_stages
    from crrn.training.devices import refuse_missing_gpu, use_tf32
    from crrn.training.dry_run import show_budget, show_dry_run
    from crrn.training.loggers import close_loggers, log_result
    from crrn.training.rundir import is_main_process
    from crrn.training.summary import write_summary

    quieten("lightning.pytorch", "lightning.fabric")
    refuse_missing_gpu(trainer)
    # A network that starts as the identity works on denormals at first, which CPUs do ten times slower.
    torch.set_flush_denormal(True)
    use_tf32(tf32)
    if not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise ConfigError(f"seed={seed} is not a valid seed: give a whole number from 0 to {2**32 - 1}.")
    L.seed_everything(seed, verbose=False)

    build(logging, "logging")
    network = build_net(net, channels_last)
    parts = stages_of(network)
    order = stages["order"] or list(parts)
    refuse_unknown(dict.fromkeys(order), there, "stages", f"the network has the stages {', '.join(parts)}, and stages")
    config["stages"] = {**stages, "order": order}
    built_stages = {stage: build(stages[stage], f"stages.{stage}") for stage in order}
    time_left = None if seconds is None else Budget(seconds, time.monotonic() if began is None else began)

    def make_callbacks() -> list[Callback | None]:
        what = "a class that extends lightning.pytorch.Callback"
        return [build(node, f"callbacks.{key}", L.Callback | None, what) for key, node in callbacks.items()]

    datamodule, steps, factory = build(data, "data"), build(optimizer, "optimizer"), build(trainer, "trainer")
    if dry_run:
        if time_left:
            built_stages = show_budget(
                network, built_stages, datamodule, steps, factory, make_callbacks, init, compile, time_left
            )
        show_dry_run(network, built_stages, datamodule, steps, trainer["devices"], trainer["accumulate_grad_batches"])
        return math.nan
    run = RunDirectory(folder, resume, config, config_yaml, writes=is_main_process())
    datamodule.setup()
    run.note(data=datamodule.summary())
    failed = True
    try:
        metrics = train_stages(
            network,
            built_stages,
            datamodule,
            steps,
            factory,
            run,
            callbacks=make_callbacks,
            loggers={key: build(node, f"logger.{key}") for key, node in logger.items()},
            init=init,
            non_finite=non_finite,
            last_callbacks=[build(pruning, "pruning")] if pruning else [],
            compile=compile,
            budget=time_left,
        )
        log_result(run.path, metrics)
        failed = False
    except Pruned:
        failed = False
        raise
    finally:
        close_loggers(failed)
    if run.writes:
        write_summary(run, metrics, f"{name}: {folder}", order)
    return metrics.get(stages[order[-1]]["monitor"], math.nan)


def build_net(net: dict[str, Any], channels_last: bool) -> nn.Module:
    """The network that a node names, with its record: files name it by its class and its settings.

    Raises:
        ConfigError: the target is not a class of networks under its own name, or a setting is not a plain value.
    """
    import torch

    from crrn.nets.record import class_name, set_record

    settings = {name: value for name, value in net.items() if name != "_target_"}
    network = build(net, "net")
    cls = type(network)
    if net.get("_target_") != class_name(cls) or not isinstance(network, torch.nn.Module):
        raise ConfigError(
            f"net._target_={net.get('_target_')} gives a {class_name(cls)}: name the class of a network, which extends "
            "torch.nn.Module, by its own module, as its files will."
        )
    set_record(network, cls, settings)
    return network.to(memory_format=torch.channels_last) if channels_last else network


if __name__ == "__main__":
    main()
