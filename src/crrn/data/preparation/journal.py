"""What a preparation remembers of its files, so that a second start does only what is new or changed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from crrn.errors import ConfigError, RunError
from crrn.files import remove_leftovers, write_atomically

JOURNAL = ".measures.jsonl"

Entry = TypeVar("Entry")


def claim_output(output: Path, folder: Path, setting: str) -> None:
    """Marks an output as made from a folder, and removes what a killed process left in it.

    Raises:
        ConfigError: the output lies within the folder, or the folder within the output.
        RunError: the output holds something else: nothing is ever overwritten or mixed.
    """
    if output == folder or folder in output.parents or output in folder.parents:
        raise ConfigError(
            f"output={output} and {setting}={folder} lie within each other: set output to a place of its own."
        )
    mark = output / ".folder"
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        made_of = os.fsdecode(mark.read_bytes()) if mark.is_file() else None
        if made_of != str(folder):
            holds = f"was made from {made_of}" if made_of else "holds other files"
            raise RunError(f"{output} {holds}: set output to an empty or new folder.")
        remove_leftovers(output)
    else:
        with write_atomically(mark, "wb") as file:
            file.write(os.fsencode(str(folder)))


def read_journal(output: Path, kind: type[Entry], key: str) -> dict[str, Entry]:
    """The measures of earlier starts by their field ``key``, the last of each; a torn line counts as none.

    Args:
        output: the folder of `claim_output`.
        kind: a dataclass, whose fields a line holds as JSON.
        key: the field that names what was measured.
    """
    path, journal = output / JOURNAL, {}
    text = path.read_text() if path.exists() else ""
    for line in text.splitlines():
        try:
            entry = kind(**json.loads(line))
        except (ValueError, TypeError):
            continue
        journal[str(getattr(entry, key))] = entry
    if text and not text.endswith("\n"):
        with path.open("a") as file:
            file.write("\n")
    return journal


def append_journal(output: Path, entry: Any) -> None:
    """Adds a dataclass to the journal.

    Raises:
        RunError: the disk is full or not writable.
    """
    path = output / JOURNAL
    try:
        with path.open("a") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}; free space and start again to go on.") from error


def fault(error: Exception) -> str:
    """What is wrong with a file, without the settings of training that would pass over it."""
    return str(error).split(": remove")[0].split(" at 0x")[0]
