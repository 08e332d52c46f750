"""Writing files so that a reader, or a process killed in the middle, never meets half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from crrn.errors import RunError


@contextmanager
def write_atomically(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a temporary file beside ``path`` and puts it in place when the block ends well; otherwise ``path`` stays
    as it was.

    Raises:
        RunError: the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open(mode, newline="" if "b" not in mode else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunError(
            f"Cannot write {path}: {error.strerror or error}; free space or choose a writable place with run_root=DIR. "
            "What was there before is intact."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
