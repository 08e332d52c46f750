"""``crrn eval``: evaluates all given removers on all given benchmarks by all given protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crrn.cli.command import run
from crrn.cli.config import A_BENCHMARK, build, refuse_unknown
from crrn.errors import ConfigError, CrrnError, DataError

A_PROTOCOL = "what gives a crrn.metrics.Protocol, as crrn.metrics.custom_protocol does"


def main() -> None:
    """The command. Exits with status 1 if it failed, or if a case did."""
    run("eval", evaluate, says="the same command goes on with what is left")


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
    memory: float | str,
    save_outputs: bool,
    cases: int,
    parquet: bool,
    device: str,
    perceptual: dict[str, str | None],
) -> list[CrrnError]:
    """Evaluates what the settings name. The parameters are the keys of ``conf/eval.yaml``.

    If several processes share the cases (`crrn.ranks`), the first one makes the summary. If they do not run at the same
    time, a later start without them makes it.

    Returns:
        If cases failed, an error that counts them.
    """
    settings = {key: value for key, value in locals().items() if key != "data_root"}
    refuse_unknown(perceptual, ["lpips_alex_weights", "dists_weights"], "perceptual", "perceptual")
    if not benchmark:
        raise ConfigError("No benchmark is given: benchmark=[sir2] benchmark.sir2.root=DIR, for example.")

    import torch

    from crrn.allocator import keep_freed_memory
    from crrn.cli.progress import ProgressDisplay
    from crrn.data.benchmarks import Benchmark
    from crrn.evaluation.cases import keep_cases
    from crrn.evaluation.labels import counted
    from crrn.evaluation.methods import methods
    from crrn.evaluation.runner import Evaluation
    from crrn.evaluation.show import show
    from crrn.evaluation.store import write_parquet
    from crrn.evaluation.summary import summarise
    from crrn.metrics import Dists, Lpips, Protocol
    from crrn.ranks import Ranks
    from crrn.removers import choose_device

    torch.set_flush_denormal(True)
    keep_freed_memory()
    measures: dict[str, Any] = {}
    where = choose_device(device)
    if perceptual["lpips_alex_weights"]:
        measures["lpips"] = Lpips(perceptual["lpips_alex_weights"]).to(where)
    if perceptual["dists_weights"]:
        measures["dists"] = Dists(perceptual["dists_weights"]).to(where)
    ranks = Ranks.from_environment()
    with ProgressDisplay(shown=ranks.first) as progress:

        def tell(what: str, done: int, of: int) -> None:
            ranks.tell()
            progress(what, done, of)

        evaluation = Evaluation(
            Path(evaluation_root) / name,
            methods(removers or [], working_size, strength),
            [build(node, f"benchmark.{key}", Benchmark, A_BENCHMARK) for key, node in benchmark.items()],
            [build(node, f"protocol.{key}", Protocol, A_PROTOCOL) for key, node in protocol.items()],
            perceptual=measures,
            device=where,
            strict=strict,
            save_outputs=save_outputs,
            memory=memory,
            settings=settings,
            ranks=ranks,
            progress=tell,
        )
        evaluation.run()
        if ranks.finish(None) is None or (ranks.world > 1 and not ranks.together):
            return []  # the process that sums up finds what failed
        evaluation.merge()
        keep_cases(evaluation, cases)
    if parquet:
        for scores in evaluation.tables():
            write_parquet(scores)
    show(evaluation.folder, summarise(evaluation.folder))
    failures = evaluation.failures()
    if not failures:
        return []
    return [
        DataError(
            f"{counted(len(failures), 'case')} could not be evaluated (left out of all means); the first: "
            f"{failures[0].rstrip('.')}. All reasons are in {evaluation.folder / 'images'}; the "
            "same command tries again."
        )
    ]


if __name__ == "__main__":
    main()
