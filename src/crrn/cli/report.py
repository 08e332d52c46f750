"""``crrn report``: makes the report experiments/NAME from finished evaluations and runs."""

from __future__ import annotations

import sys
from pathlib import Path

from crrn.cli.command import run
from crrn.errors import ConfigError


def main() -> None:
    """The command. Exits with status 1 if it failed."""
    run("report", report)


def report(
    *,
    name: str,
    experiment_root: str,
    question: str,
    answer: str,
    evaluations: list[str],
    runs: list[str],
    paper: dict[str, str] | None,
    pictures: int,
    quality: int,
) -> None:
    """Reads what the settings name and writes the report; the parameters are the keys of ``conf/report.yaml``."""
    for key, folders in (("evaluations", evaluations), ("runs", runs)):
        if not isinstance(folders, list):
            raise ConfigError(f"{key}={folders} is not a list: give {key}=[{folders}].")
    for key, number in (("pictures", pictures), ("quality", quality)):
        if not isinstance(number, int) or isinstance(number, bool):
            raise ConfigError(f"{key}={number} is not a whole number.")
    if paper is not None and not isinstance(paper, dict):
        raise ConfigError(f"paper={paper} names no remover: give paper={{LABEL:ROW}}, as in paper={{ours:CRRN}}.")
    if Path(str(name)).name != str(name):
        raise ConfigError(f"name={name} is not the name of a folder: give one without / in it.")
    if not evaluations and not runs:
        raise ConfigError("There is nothing to report: give evaluations=[evaluations/NAME] or runs=[runs/NAME].")

    from crrn.evaluation.report.content import gather
    from crrn.evaluation.report.sources import as_typed
    from crrn.evaluation.report.write import write_report
    from crrn.screen import console

    content = gather(
        str(name),
        evaluations,
        runs,
        question=question,
        answer=answer,
        paper=paper,
        pictures=pictures,
        quality=quality,
        command=as_typed([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    files = write_report(Path(experiment_root) / str(name), content)
    screen = console()
    for path in files:
        screen.print(f"{path.stat().st_size / 1024:7.0f} KiB  {path}", highlight=False)


if __name__ == "__main__":
    main()
