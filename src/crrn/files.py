"""Writing files so that a reader, or a process killed in the middle, never meets half of one; and reading them."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from crrn.errors import RunError

TEMPORARY = ".tmp"
LARGE = 1 << 20
"""Bytes of a read that is worth a look at the size of the file."""


def file_digest(path: Path) -> str:
    """16 hex digits of the file's bytes, by BLAKE2b."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class BoundedFile(io.BufferedReader):
    """A file open for reading, of which a read never asks for more bytes than it has.

    A plain file reserves as many bytes as are asked for, and a decoder asks for as many as a file's header claims:
    gigabytes for a broken PNG of a few bytes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; all that are left for None or a negative number."""
        if size is not None and size > LARGE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


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
        text: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
        with temporary.open(mode, **({} if "b" in mode else text)) as file:
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
        raise _unwritable(path, cause, place) from cause
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def append(path: Path) -> Iterator[IO[str]]:
    """Opens a text file to write behind its end, without waiting for the disk.

    Raises:
        RunError: the file cannot be written to or the disk is full.
    """
    try:
        with path.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            yield file
    except OSError as error:
        raise _unwritable(path, error, "run_root=DIR") from error


def _unwritable(path: Path, error: OSError, place: str) -> RunError:
    return RunError(
        f"Cannot write {path}: {error.strerror or error}; free space or choose a writable place with {place}. "
        "What was there before is intact."
    )
