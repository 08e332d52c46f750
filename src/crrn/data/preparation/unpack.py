"""Unpacking the archives of a downloaded benchmark: wholly or not at all, and nothing outside of their folder."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from crrn.claims import claim
from crrn.data.benchmarks.case import Progress
from crrn.errors import DataError, RunError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MARKER = ".crrn-unpacked.json"
"""In the unpacked folder: which archives it holds. It is there when all of them are unpacked."""

RATIO, FLOOR = 50, 1 << 26
"""An archive may unpack to at most 64 MiB and 50 times its size (our choice): pictures hardly shrink, bombs do."""
ENTRIES = 1_000_000
DEPTH = 3
"""Archives within archives within the archive."""

CHUNK = 1 << 20
_TORN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, struct.error)
"""What the readers raise on data that is no archive's."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""No photo's name has these, and a message that quotes them is no longer one line."""
LITTER = ("__MACOSX", ".DS_Store", "Icon\r", "Thumbs.db")


def unpack(
    archives: Sequence[Path | str], target: Path | str, progress: Progress = lambda what, done, of: None
) -> bool:
    """Unpacks zip and tar archives, and those within them, each into a folder of its name below ``target``.

    All is unpacked beside the target and put in place by one rename, so a process that is killed leaves no half of a
    benchmark; the next start begins anew. A target that holds these archives already is left as it is, also where the
    archives are gone.

    Returns:
        Whether anything was unpacked.

    Raises:
        DataError: an archive is missing, torn, encrypted or no archive; it holds a link, a path that leads out of its
            folder, or more than its size allows; or the target holds something else.
        RunError: the disk is full or not writable, or another process unpacks to this target.
    """
    packed, target = [Path(archive).expanduser() for archive in archives], Path(target).expanduser().absolute()
    if _holds(target, packed, progress):
        return False
    for archive in packed:
        if not archive.is_file():
            raise DataError(f"There is no archive {archive.absolute()}: give archive=FILE, or [FILE,...] for several.")
    if target.is_dir() and any(target.iterdir()):
        raise DataError(
            f"{target} is there already and was not unpacked from {', '.join(map(str, packed))}: leave archive= out "
            "to take what is there, or move it away."
        )
    with _workshop(target) as folder:
        budget = _Budget(sum(archive.stat().st_size for archive in packed), folder)
        for archive in packed:
            _unpack(archive, folder / _stem(archive), budget, progress)
        facts = {"archives": [_facts(archive, progress) for archive in packed]}
        (folder / MARKER).write_text(json.dumps(facts, indent=1))
        try:
            if target.is_dir():
                target.rmdir()
            folder.rename(target)
        except OSError as error:
            raise RunError(f"Cannot put {target} in place: {error.strerror or error}.") from error
    return True


def _holds(target: Path, archives: Sequence[Path], progress: Progress) -> bool:
    """Whether the target was unpacked from these archives, as far as they are still there."""
    try:
        known = {entry["name"]: entry for entry in json.loads((target / MARKER).read_text())["archives"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return known.keys() == {archive.name for archive in archives} and all(
        known[archive.name] == _facts(archive, progress) for archive in archives if archive.is_file()
    )


def _facts(archive: Path, progress: Progress) -> dict[str, Any]:
    digest, size, done = hashlib.blake2b(digest_size=16), archive.stat().st_size, 0
    with archive.open("rb") as file:
        while chunk := file.read(16 * CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(f"{archive.name}: digest (MB)", done >> 20, size >> 20)
    return {"name": archive.name, "bytes": size, "blake2b": digest.hexdigest()}


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """An empty folder beside the target, claimed by this process; what a killed one left in it is thrown away."""
    folder = target.with_name(f".{target.name}.unpacking")
    lock = folder.with_suffix(".lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        claimed = claim(lock, f"Another process unpacks to {target} just now: wait for it.")
    except OSError as error:
        raise RunError(f"Cannot write beside {target}: {error.strerror or error}.") from error
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        yield folder
    except OSError as error:
        raise RunError(f"Cannot unpack to {target}: {error.strerror or error}; nothing is left behind.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # Windows removes no open file
            lock.unlink()
        claimed.release()


class _Budget:
    """How much may still be written, over all archives of one unpacking."""

    def __init__(self, size: int, folder: Path) -> None:
        self.allowed = self.bytes = FLOOR + RATIO * size
        self.entries = ENTRIES
        self.folder = folder

    def take(self, archive: Path, size: int, entries: int = 0) -> None:
        """Raises a DataError where the archives hold more than they may."""
        self.bytes -= size
        self.entries -= entries
        if self.bytes < 0 or self.entries < 0:
            what = f"{self.allowed / 2**20:,.0f} MiB" if self.bytes < 0 else f"{ENTRIES:,} files"
            raise DataError(
                f"{archive.name} unpacks to more than {what}, far more than pictures would: unpack it by hand if you "
                "trust it, and leave archive= out."
            )


def _unpack(archive: Path, folder: Path, budget: _Budget, progress: Progress, depth: int = 1) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Tar first: a zip is known by its end, which a tar has too where its last member is a zip.
        if _is_tar(archive):
            _untar(archive, folder, budget, progress)
        elif zipfile.is_zipfile(archive):
            _unzip(archive, folder, budget, progress)
        else:
            raise DataError(_no_archive(archive))
    except FileExistsError as error:
        raise DataError(
            f"{archive.name} holds {Path(error.filename).name} twice, or beside a folder of that name."
        ) from error
    except OSError as error:
        if error.errno is None:  # bz2 and gzip say so of torn data
            raise _torn(archive, error) from error
        raise RunError(
            f"Cannot unpack {archive.name}: {error.strerror} ({error.filename or folder}); nothing is left behind."
        ) from error
    except (*_TORN, RecursionError) as error:
        raise _torn(archive, error) from error
    except NotImplementedError as error:
        raise DataError(
            f"{archive.name} is packed in a way that Python does not know ({error}): unpack it by hand."
        ) from error
    except RuntimeError as error:  # what zipfile says of passwords
        raise DataError(f"{archive.name} is encrypted: unpack it by hand, and leave archive= out.") from error
    for inner in sorted(path for path in folder.rglob("*") if path.is_file() and path.name.lower().endswith(SUFFIXES)):
        if depth == DEPTH:
            raise DataError(f"{archive.name} holds archives in archives, more than {DEPTH} deep ({inner.name}).")
        _unpack(inner, inner.with_name(_stem(inner)), budget, progress, depth + 1)
        inner.unlink()


def _unzip(archive: Path, folder: Path, budget: _Budget, progress: Progress) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        declared, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
        if declared <= budget.bytes and declared > free:
            raise RunError(
                f"{archive.name} needs {declared / 2**30:.1f} GiB, and {free / 2**30:.1f} are free at {folder.parent}."
            )
        of, done = sum(member.compress_size for member in members), 0
        for member in members:
            if not member.filename:
                raise _unsafe(archive, "", "has no name")
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(archive, member.filename, "is a link or a device")
            place = _inside(archive, folder, member.filename)
            if place is not None and not member.is_dir():
                with file.open(member) as source:
                    _write(archive, source, place, budget)
            done += member.compress_size
            progress(f"{archive.name} (MB)", done >> 20, of >> 20)


def _untar(archive: Path, folder: Path, budget: _Budget, progress: Progress) -> None:
    of = archive.stat().st_size
    with archive.open("rb") as packed, _decompressed(packed) as plain, tarfile.open(fileobj=plain, mode="r:") as file:
        for member in file:
            if not (member.isreg() or member.isdir()):
                raise _unsafe(archive, member.name, "is a link or a device")
            place = _inside(archive, folder, member.name)
            source = file.extractfile(member)
            budget.take(archive, member.offset_data - member.offset)
            if place is None or source is None:
                budget.take(archive, member.size)  # what is passed over has to be decompressed too
            else:
                _write(archive, source, place, budget)
            file.members = []  # type: ignore[attr-defined]  # else all headers stay in memory
            progress(f"{archive.name} (MB)", packed.tell() >> 20, of >> 20)


def _is_tar(archive: Path) -> bool:
    """Whether it begins with the header of a tar, compressed or not."""
    try:
        with archive.open("rb") as packed, _decompressed(packed) as plain, tarfile.open(fileobj=plain, mode="r:"):
            return True
    except (*_TORN, RecursionError):
        return False
    except OSError as error:
        if error.errno is None:
            return False
        raise


@contextmanager
def _decompressed(packed: IO[bytes]) -> Iterator[Any]:
    """The plain tar in a compressed one. tarfile itself would take as much memory as a header asks for."""
    head = packed.read(6)
    packed.seek(0)
    known: tuple[tuple[bytes, Any], ...] = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
    opened = next((opener for start, opener in known if head.startswith(start)), None)
    with nullcontext(packed) if opened is None else opened(packed) as plain:
        yield _InParts(plain)


class _InParts:
    """A file that is read in parts of at most 1 MiB."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Raises tarfile.ReadError where more is asked for at once: headers are smaller, and members read so."""
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError("a header announces more than 1 MiB")
        return self.file.read(size)


def _inside(archive: Path, folder: Path, name: str) -> Path | None:
    """Where a member goes; None for what operating systems leave in archives."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        raise _unsafe(archive, name, "leads out of its folder")
    if any(part in LITTER for part in path.parts) or path.name.startswith("._"):
        return None
    if CONTROL.search(name):
        raise _unsafe(archive, name, "has a line break or another control character in its name")
    return folder.joinpath(*path.parts)


def _write(archive: Path, source: IO[bytes], place: Path, budget: _Budget) -> None:
    budget.take(archive, 0, entries=1)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as out:
        while chunk := source.read(CHUNK):
            budget.take(archive, len(chunk))
            out.write(chunk)


def _stem(archive: Path) -> str:
    name = archive.name
    suffix = max((s for s in SUFFIXES if name.lower().endswith(s)), key=len, default="")
    stem = name[: len(name) - len(suffix)]
    return stem if stem.strip(". ") else name  # "..", of "...zip", would lead out of its folder


def _no_archive(archive: Path) -> str:
    with archive.open("rb") as file:
        head = file.read(64).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return f"{archive} is a web page, not an archive: open it in a browser, and download what it leads to."
    return (
        f"{archive} is not a zip or tar archive, or not all of it is there: load it again, or unpack another kind (7z, "
        "rar) by hand and leave archive= out."
    )


def _torn(archive: Path, error: Exception) -> DataError:
    return DataError(f"{archive} is torn ({error or type(error).__name__}): load it again.")


def _unsafe(archive: Path, name: str, what: str) -> DataError:
    return DataError(f"{archive.name} is refused, as {name!r} in it {what}: unpack it by hand if you trust it.")
