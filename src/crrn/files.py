"""Writing files so that a reader, or a process killed in the middle, never meets half of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from crrn.errors import RunError

TEMPORARY = ".tmp"


def file_digest(path: Path) -> str:
    """16 hex digits of the file's bytes, by BLAKE2b."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that a killed process left behind in ``folder`` and below."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


@contextmanager
def write_atomically(
    path: Path | str,
    mode: str = "wb",
    keep: Path | None = None,
    place: str = "run_root=DIR",
    sync: bool = True,
) -> Iterator[IO[Any]]:
    """Opens a temporary file beside ``path`` and puts it in place when the block ends well; otherwise ``path`` stays
    as it was.

    Args:
        path: the file to write.
        mode: as of ``open``.
        keep: where the file that was there before is moved to, once the new one is complete; None drops it.
        place: the setting that chooses another place, for the message.
        sync: wait for the disk, so that the file outlives a power cut; off for the many files that can be made again.

    Raises:
        RunError: the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open(mode, newline="" if "b" not in mode else None) as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        # torch's zip writer hides the system's error behind one of its own
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        error = cause
        raise RunError(
            f"Cannot write {path}: {error.strerror or error}; free space or choose a writable place with {place}. "
            "What was there before is intact."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
