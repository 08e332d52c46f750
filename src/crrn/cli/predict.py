"""``crrn predict``: removes reflections from photos and videos, with all settings as KEY=VALUE."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from crrn.cli.command import run
from crrn.cli.photos import predict_all

OPTIONS_WITH_VALUE = {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir"}
OPTIONS_WITH_VALUE |= {"-cd", "--info", "-i"}
OPTIONS = OPTIONS_WITH_VALUE | {"--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun"}
OPTIONS |= {"-m", "--shell-completion", "-sc"}
"""Hydra's own."""


def main() -> None:
    """The command. Exits with status 1 if it failed, or if one of several photos did."""
    refuse_plain_arguments(sys.argv[1:])
    run("predict", predict, ("input", "output", "remover"), "the same command goes on with what is left")


def refuse_plain_arguments(arguments: Sequence[str]) -> None:
    """Ends the command if arguments are not Hydra's, such as ``photo.jpg``. The message names ``crrn remove``."""
    others = [
        argument
        for before, argument in pairwise(["", *arguments])
        if before not in OPTIONS_WITH_VALUE and not _is_hydras(argument)
    ]
    if others:
        values = (value for argument in others if (value := _value(argument)))
        print(
            f"error: predict takes KEY=VALUE, such as input=photo.jpg output=clean, and not {others[0]}. For ordinary "
            f"arguments use: crrn remove {shlex.quote(next(values, 'photo.jpg'))} -o clean",
            file=sys.stderr,
        )
        sys.exit(1)


def _is_hydras(argument: str) -> bool:
    name, equals, _ = argument.partition("=")
    return name in OPTIONS if name.startswith("-") else bool(equals) or name.startswith("~")


def _value(argument: str) -> str:
    return argument.partition("=")[2] if argument.startswith("-") else argument


def predict(
    *,
    input: str,
    output: str,
    remover: Any,
    working_size: int | str | None,
    strength: float | None,
    reflection: bool,
    side_by_side: bool,
    memory: float | str,
    tile: int | None,
    overlap: int,
    self_ensemble: bool,
    precision: str,
    device: str,
    quality: int,
    max_megapixels: float,
    overwrite: bool,
) -> None:
    """Predicts all photos and videos that are not done yet. The parameters are the keys of ``conf/predict.yaml``.

    Raises:
        DataError: there is no input, or at least one failed; the others are done.
    """
    predict_all([str(input)], **{name: value for name, value in locals().items() if name != "input"})


if __name__ == "__main__":
    main()
