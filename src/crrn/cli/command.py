"""The shared part of all commands but training: command line, function arguments, exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NoReturn

from omegaconf import DictConfig

from crrn.cli.config import quoted, register_resolvers, run_hydra, settings_of
from crrn.cli.stop import stoppable
from crrn.errors import CrrnError


def run(config: str, command: Callable[..., Any], paths: Sequence[str] = (), says: str | None = None) -> NoReturn:
    """Composes ``conf/CONFIG.yaml`` with the command line and calls the command with its settings.

    Each `CrrnError` is printed as one sentence, without a traceback.

    Args:
        config: the name of the YAML file.
        command: takes the file's keys as keyword arguments; it raises a `CrrnError`, or returns several of them.
        paths: settings whose values are paths or free text, which may hold any character.
        says: what a person reads who stops the command by Ctrl-C; None: nothing.

    Raises:
        SystemExit: with status 1 where there was an error, else 0.
    """
    errors: list[CrrnError] = []
    register_resolvers()
    sys.argv[1:] = quoted(sys.argv[1:], paths)
    with stoppable(says) if says else nullcontext():
        run_hydra(config, partial(_job, command=command, errors=errors))
    sys.exit(1 if errors else 0)


def _job(cfg: DictConfig, command: Callable[..., Any], errors: list[CrrnError]) -> None:
    try:
        errors += command(**settings_of(cfg, command)) or ()
    except CrrnError as error:
        errors.append(error)
    for failure in errors:
        print(f"error: {failure}", file=sys.stderr)
