"""``python -m src.eval``: removers x benchmarks x protocols, in one command."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from crrn.cli.config import build, config_folder, refuse_unknown, register_resolvers, settings_of, stoppable
from crrn.errors import ConfigError, CrrnError


def main() -> None:
    """The command. Exits with status 1 if it failed."""
    failures: list[CrrnError] = []
    register_resolvers()
    with stoppable("the same command goes on with what is left"):
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="eval")(
            partial(job, failures=failures)
        )()
    sys.exit(1 if failures else 0)


def job(cfg: DictConfig, failures: list[CrrnError]) -> None:
    """One evaluation; an error that the user's input caused is printed as one sentence and kept in ``failures``."""
    try:
        evaluate(**settings_of(cfg, evaluate))
    except CrrnError as error:
        failures.append(error)
        print(f"error: {error}", file=sys.stderr)


def evaluate(
    *,
    name: str,
    evaluation_root: str,
    data_root: str,
    removers: list[Any] | dict[str, Any] | None,
    benchmark: dict[str, Any],
    protocol: dict[str, Any],
    working_size: int | str | None,
    strength: float | None,
    strict: bool,
    save_outputs: bool,
    cases: int,
    parquet: bool,
    device: str,
    perceptual: dict[str, str | None],
) -> None:
    """Builds what the settings name and evaluates it; the parameters are the keys of ``conf/eval.yaml``."""
    settings = {key: value for key, value in locals().items() if key != "data_root"}
    refuse_unknown(perceptual, ["lpips_alex_weights", "dists_weights"], "perceptual", "perceptual")
    if not benchmark:
        raise ConfigError("No benchmark is given: benchmark=[sir2] benchmark.sir2.root=DIR, for example.")

    import torch

    from crrn.allocator import keep_freed_memory
    from crrn.cli.progress import Progress
    from crrn.evaluation.cases import keep_cases
    from crrn.evaluation.contestants import contestants
    from crrn.evaluation.runner import Evaluation
    from crrn.evaluation.show import show
    from crrn.evaluation.store import write_parquet
    from crrn.evaluation.summary import summarise
    from crrn.metrics import Dists, Lpips
    from crrn.removers import choose_device

    torch.set_flush_denormal(True)
    keep_freed_memory()
    measures: dict[str, Any] = {}
    where = choose_device(device)
    if perceptual["lpips_alex_weights"]:
        measures["lpips"] = Lpips(perceptual["lpips_alex_weights"]).to(where)
    if perceptual["dists_weights"]:
        measures["dists"] = Dists(perceptual["dists_weights"]).to(where)
    with Progress() as progress:
        evaluation = Evaluation(
            Path(evaluation_root) / name,
            contestants(removers or [], working_size, strength),
            [build(node, f"benchmark.{key}") for key, node in benchmark.items()],
            [build(node, f"protocol.{key}") for key, node in protocol.items()],
            perceptual=measures,
            device=where,
            strict=strict,
            save_outputs=save_outputs,
            settings=settings,
            progress=progress,
        )
        evaluation.run()
        keep_cases(evaluation, cases)
    if parquet:
        for cell in evaluation.cells():
            write_parquet(cell)
    show(evaluation.folder, summarise(evaluation.folder))
