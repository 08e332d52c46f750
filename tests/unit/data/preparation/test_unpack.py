"""Archives of a download: unpacked wholly or not at all, and never outside of their folder."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from crrn.data.preparation import unpack
from crrn.errors import CrrnError, DataError, RunError


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def tarred(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for member, content in members:
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".crrn")
    }


def test_nested_archives_become_folders_of_their_names(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"Focus/m.jpg": b"m", "__MACOSX/._m.jpg": b"-", "Focus/.DS_Store": b"-"})
    packed = tarred(tmp_path / "i.tgz", (tarfile.TarInfo("Wildscene/7/g.jpg"), b"g"), (tarfile.TarInfo("x"), b"x"))
    outer = zipped(tmp_path / "SIR2.zip", {"Postcard.zip": inner.read_bytes(), "more/Wild.tar.gz": packed.read_bytes()})
    assert unpack([outer], tmp_path / "data/SIR2")
    assert tree(tmp_path / "data/SIR2") == {
        "SIR2/Postcard/Focus/m.jpg": b"m",
        "SIR2/more/Wild/Wildscene/7/g.jpg": b"g",
        "SIR2/more/Wild/x": b"x",
    }
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["SIR2"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path, mode: str) -> None:
    inner = zipped(tmp_path / "Wildscene.zip", {"1/m.jpg": b"m"}, zipfile.ZIP_STORED)
    archive = tmp_path / "SIR2.tar"
    level = {"compresslevel": 0} if mode == "w:gz" else {}
    with tarfile.open(archive, mode, **level) as file:  # type: ignore[call-overload]
        for name in ("Postcard.jpg", "Solid.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 4
            file.addfile(info, io.BytesIO(name[:4].encode()))
        file.add(inner, inner.name)
    assert zipfile.is_zipfile(archive), "it looks like a zip from its end"
    unpack([archive], tmp_path / "target")
    assert tree(tmp_path / "target") == {
        "SIR2/Postcard.jpg": b"Post",
        "SIR2/Solid.jpg": b"Soli",
        "SIR2/Wildscene/1/m.jpg": b"m",
    }


def test_a_second_start_takes_what_is_there(tmp_path: Path) -> None:
    first, second = (zipped(tmp_path / f"{n}.zip", {f"{n}.txt": n.encode() * 9}) for n in "ab")
    target = tmp_path / "target"
    assert unpack([first, second], target)
    (target / "a/mine.txt").write_text("kept")
    assert not unpack([first, second], target)
    first.unlink()
    assert not unpack([first, second], target)  # the archives may be thrown away
    assert (target / "a/mine.txt").exists()
    zipped(second, {"b.txt": b"another"})
    with pytest.raises(DataError, match=str(target)):
        unpack([first.with_name("b.zip")], target)
    zipped(first, {"a.txt": b"another"})
    with pytest.raises(DataError, match=str(target)):
        unpack([first, second], target)


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target/mine").write_text("1")
    with pytest.raises(DataError, match="archive="):
        unpack([zipped(tmp_path / "a.zip", {"a": b"a"})], tmp_path / "target")
    assert tree(tmp_path / "target") == {"mine": b"1"}


def linked_zip(path: Path) -> Path:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", "a")
        file.writestr(link, "/etc")
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def encrypted(path: Path) -> Path:
    zipped(path, {"a": b"a" * 40}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for head, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(head) + at] |= 1  # the flag that says so
    path.write_bytes(data)
    return path


def with_a_wrong_checksum(path: Path) -> Path:
    zipped(path, {"a": b"original"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"original", b"0riginal"))
    return path


def cut(path: Path) -> Path:
    tarred(path, (member("a"), os.urandom(50_000)))
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def deep(path: Path) -> Path:
    zipped(path, {"a": b"a"})
    for _ in range(3):
        zipped(path, {"inner.zip": path.read_bytes()})
    return path


def nameless(path: Path) -> Path:
    info = zipfile.ZipInfo("x")
    info.filename = ""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(info, b"1")
    return path


def dotted(path: Path) -> Path:
    """Archives whose names without suffix are "..": each would be unpacked a folder higher than the one before."""
    zipped(path, {"evil": b"1"})
    for _ in range(2):
        zipped(path, {"...zip": path.read_bytes()})
    return path


def announcing(path: Path, first: bool = True) -> Path:
    """A header that announces 3 GiB of names, and zeros that would fill them."""
    header = member("././@PaxHeader", tarfile.XHDTYPE)
    header.size = 3 << 30
    good = tarred(path, (member("a"), b"1")).read_bytes()
    start = b"" if first else gzip.decompress(good)[:1024]
    path.write_bytes(gzip.compress(start + header.tobuf(tarfile.GNU_FORMAT) + bytes(4 << 20), 1))
    return path


def passed_over(path: Path) -> Path:
    """A member that is not written, as operating systems leave it, of 80 MiB."""
    return tarred(path, (member("__MACOSX/a"), bytes(80 << 20)), (member("a"), b"1"))


def chain(path: Path) -> Path:
    """Headers that belong to headers, more than Python's stack is deep."""
    header = member("././@PaxHeader", tarfile.XHDTYPE).tobuf(tarfile.GNU_FORMAT)
    good = gzip.decompress(tarred(path, (member("a"), b"1")).read_bytes())[:1024]
    path.write_bytes(gzip.compress(good + header * 5000))
    return path


def page(path: Path) -> Path:
    path.write_text("\n<!DOCTYPE html><title>Quota exceeded</title>")
    return path


BAD: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "up": ("a.zip", lambda path: zipped(path, {"good": b"1", "../../evil": b"1"}), "leads out of its folder"),
    "absolute": ("a.zip", lambda path: zipped(path, {"/evil": b"1"}), "leads out of its folder"),
    "backslashes": ("a.zip", lambda path: zipped(path, {"..\\evil": b"1"}), "leads out of its folder"),
    "drive": ("a.zip", lambda path: zipped(path, {"C:\\evil": b"1"}), "leads out of its folder"),
    "zip link": ("a.zip", linked_zip, "is a link"),
    "tar up": ("a.tar.gz", lambda path: tarred(path, (member("x/../../evil"), b"1")), "leads out of its folder"),
    "symlink": ("a.tar.gz", lambda path: tarred(path, (member("l", tarfile.SYMTYPE, "/etc"), b"")), "is a link"),
    "hard link": ("a.tar.gz", lambda path: tarred(path, (member("l", tarfile.LNKTYPE, "../x"), b"")), "is a link"),
    "fifo": ("a.tar.gz", lambda path: tarred(path, (member("l", tarfile.FIFOTYPE), b"")), "or a device"),
    "bomb": ("a.zip", lambda path: zipped(path, {"zeros": bytes(80 << 20)}), "far more than pictures"),
    "twice": ("a.tar.gz", lambda path: tarred(path, (member("a"), b"1"), (member("a"), b"2")), "holds a twice"),
    "line break": ("a.tar.gz", lambda path: tarred(path, *[(member("a\nb"), b"1")] * 2), "control character"),
    "zip line break": ("a.zip", lambda path: zipped(path, {"a\u2028b.zip": b"1"}), "control character"),
    "encrypted": ("a.zip", encrypted, "is encrypted"),
    "checksum": ("a.zip", with_a_wrong_checksum, "is torn"),
    "cut": ("a.tar.gz", cut, "is torn"),
    "deep": ("a.zip", deep, "more than 3 deep"),
    "no name": ("a.zip", nameless, "has no name"),
    "dots": ("a.zip", dotted, "beside a folder of that name"),
    "header": ("a.tar.gz", announcing, "is not a zip or tar archive"),
    "second header": ("a.tar.gz", lambda path: announcing(path, first=False), "announces more than 1 MiB"),
    "passed over": ("a.tar.gz", passed_over, "far more than pictures"),
    "chain": ("a.tar.gz", chain, "is torn"),
    "page": ("a.zip", page, "is a web page"),
    "rar": ("a.rar", lambda path: Path(path.write_bytes(b"Rar!\x1a\x07") and path), "is not a zip or tar archive"),
}


@pytest.mark.parametrize(("name", "make", "says"), BAD.values(), ids=BAD)
def test_a_bad_archive_is_refused_and_leaves_nothing(
    name: str, make: Callable[[Path], Path], says: str, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    archive = make(tmp_path / name)
    before = {path.name for path in tmp_path.rglob("*")}
    with pytest.raises(DataError, match=says) as caught:
        unpack([archive], tmp_path / "work/target")
    assert len(str(caught.value).splitlines()) == 1
    assert {path.name for path in tmp_path.rglob("*")} == before


def test_a_bomb_within_an_archive_is_one_too(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {"zeros": bytes(80 << 20)})
    with pytest.raises(DataError, match=r"bomb\.zip"):
        unpack([zipped(tmp_path / "a.zip", {"bomb.zip": bomb.read_bytes()})], tmp_path / "target")


def test_a_missing_archive_and_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.zip"):
        unpack([tmp_path / "a.zip"], tmp_path / "target")
    (tmp_path / "file").write_text("")
    with pytest.raises(CrrnError, match="file"):
        unpack([zipped(tmp_path / "a.zip", {"a": b"a"})], tmp_path / "file/target")


SLOW = """
import sys, time
from crrn.data.preparation import unpack
unpack([sys.argv[1]], sys.argv[2], lambda what, done, of: (print(what, flush=True), time.sleep(0.5)))
"""


@pytest.mark.slow
def test_a_killed_unpacking_is_redone_and_a_second_one_waits(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {f"{n}.txt": b"%d" % n for n in range(9)})
    target = tmp_path / "target"
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(archive), str(target)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # at work
    with pytest.raises(RunError, match="Another process"):
        unpack([archive], target)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not target.exists() and (tmp_path / ".target.unpacking/a/0.txt").exists()
    (tmp_path / ".target.unpacking/a/0.txt").write_text("half")
    start = time.monotonic()
    assert unpack([archive], target)
    assert time.monotonic() - start < 10
    assert tree(target) == {f"a/{n}.txt": b"%d" % n for n in range(9)}
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "target"}
    assert json.loads((target / ".crrn-unpacked.json").read_text())["archives"][0]["name"] == "a.zip"
