"""``python -m src.bench``: compares crrn's speed with other libraries, side by side in one run."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Any

from crrn.cli.command import run
from crrn.cli.config import build
from crrn.errors import ConfigError


def main() -> None:
    """The command. Exits with status 1 if it failed; a missed target is no failure."""
    run("bench", bench)


def bench(
    *,
    suite: dict[str, Any],
    repetitions: int,
    seconds: float,
    threads: int | None,
    toy: bool,
    output: str,
    compare: str | None,
) -> None:
    """Runs the suites one after the other; the parameters are the keys of ``conf/bench.yaml``."""
    settings = dict(locals())
    if not suite:
        raise ConfigError("No suite is given: suite=[input,loss], for example; --help lists them.")
    if repetitions < 1 or seconds <= 0:
        raise ConfigError(f"repetitions={repetitions} and seconds={seconds:g} must be 1 or more, and above 0.")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads={threads} is not a number of threads: give 1 or more, or null for one a core.")
    suite = {name: sized(name, node, toy) for name, node in suite.items()}

    import torch

    from crrn.allocator import keep_freed_memory
    from crrn.bench.bench import Bench
    from crrn.bench.machine import circumstances
    from crrn.bench.report import COMPARED, HEAD, changes, read, rows, screen, write
    from crrn.bench.results import Line

    before = read(Path(compare)) if compare else []
    logging.getLogger("crrn").setLevel(logging.ERROR)
    logging.getLogger("crrn.bench").setLevel(logging.INFO)
    torch.set_flush_denormal(True)
    keep_freed_memory()  # as in training
    shell = " ".join(["python -m src.bench", *map(shlex.quote, sys.argv[1:])])
    record = {**circumstances(), "settings": settings, "shell": shell}
    lines: list[Line] = []
    built = {name: build(node, f"suite.{name}") for name, node in suite.items()}
    for name, one in built.items():
        taker = Bench(name, repetitions, seconds, threads or torch.get_num_threads())
        with taker.with_threads(taker.threads):
            one.run(taker)
        lines += taker.lines
        screen(name, HEAD, rows(taker.lines))
        write(Path(output), record, lines, before)
    if before:
        screen(f"compared with {compare}", COMPARED, changes(before, lines))
    print(f"Tables: {Path(output) / 'README.md'}   Numbers: {Path(output) / 'metrics.json'}")


def sized(name: str, node: dict[str, Any], toy: bool) -> dict[str, Any]:
    """A suite's node, with its toy sizes in place where they are asked for."""
    small = node.get("toy") or {}
    full = {key: value for key, value in node.items() if key != "toy"}
    unknown = sorted(small.keys() - full.keys())
    if unknown:
        raise ConfigError(f"Unknown setting suite.{name}.toy.{unknown[0]}; suite.{name} has {', '.join(full)}.")
    return {**full, **small} if toy else full
