"""What is fuzzed: for each kind of file how a broken one is made, and what reads it."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from crrn.data import photos as training_photos
from crrn.data.preparation import unpack
from crrn.errors import CrrnError, DataError
from crrn.evaluation.report.content import gather
from crrn.evaluation.report.write import write_report
from crrn.inference.batch import RECORD, Job, Record
from crrn.inference.photo import read_photo, write_photo
from crrn.nets import network_record
from crrn.removers import load_remover, remover_digest, remover_prediction
from tests.fuzz import corpus
from tests.fuzz.mutate import Rng, mutated, mutated_json, mutated_value, with_png_checksums

MEGAPIXELS = 16
"""The limit that photos are read with, so that the memory of one case has a bound."""


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Attributes:
        cases: of a whole campaign.
        make: writes case ``rng`` into a folder, and gives what to read.
        read: reads it; may write into the second folder, and nowhere else.
    """

    cases: int
    make: Callable[[Rng, Path], Path]
    read: Callable[[Path, Path], None]


class Fault(Exception):
    """What no case may do, found by the target itself."""


# Photos


def make_photo(rng: Rng, folder: Path, kind: str, suffix: str) -> Path:
    """A broken photo; in a third of the PNGs all checksums are right."""
    originals = corpus.photos(kind)
    content = mutated(rng, originals[rng.integers(len(originals))], originals)
    if kind == "png" and rng.random() < 0.67:
        content = with_png_checksums(content)
    path = folder / f"photo{suffix}"
    path.write_bytes(content)
    return path


def read_any_photo(path: Path, output: Path) -> None:
    """As predict reads and writes it, and as training and benchmarks read it."""
    for read in (
        partial(training_photos.check_photo, min_side=1),
        partial(training_photos.read_photo, size=(32, 48)),
        training_photos.read_image,
    ):
        with _refusable(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Pillow's remarks on odd EXIF: who trains may want to know
            read(path)
    photo = read_photo(path, MEGAPIXELS)
    written = output / path.name
    write_photo(written, photo.mixture(), photo)
    try:
        again = read_photo(written, MEGAPIXELS)
    except CrrnError as error:
        raise Fault(f"what was written cannot be read: {error}") from error
    if photo.lossless and not np.array_equal(again.pixels, photo.pixels if again.grey == photo.grey else again.pixels):
        raise Fault("a lossless format lost levels")


class _refusable:
    """Lets a refusal pass, as the next reader is to have its turn."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, CrrnError):
            one_line(error)
            return True
        return False


def one_line(error: CrrnError) -> None:
    """Faults for a message of several lines, and for one that hides that memory ran out."""
    if len(str(error).splitlines()) != 1:
        raise Fault(f"a message of several lines: {error}") from error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            raise Fault(f"memory ran out: {error}") from error
        cause = cause.__cause__ or cause.__context__


# Networks


def make_weights(rng: Rng, folder: Path) -> Path:
    """A broken safetensors file: its bytes, its header, or our record in its header."""
    originals = corpus.weights()
    content = originals[rng.integers(len(originals))]
    header, rest = corpus.safetensors_header(content)
    kind = rng.integers(3)
    if kind == 0:
        content = mutated(rng, content, originals)
    elif kind == 1:
        content = corpus.with_header(mutated_value(rng, header), rest)
    else:
        ours = mutated_json(rng, header["__metadata__"]["crrn"].encode()).decode("utf-8", errors="replace")
        content = corpus.with_header(header | {"__metadata__": {"crrn": ours}}, rest)
    path = folder / "net.safetensors"
    path.write_bytes(content)
    return path


ODD_TENSORS = (
    torch.zeros(0),
    torch.tensor(3),
    torch.tensor([float("nan")]),
    torch.zeros(2, 2, dtype=torch.complex64),
    torch.zeros(2, dtype=torch.bool),
    torch.zeros(3).to_sparse(),
    torch.zeros(1).expand(10**9),
)


def make_checkpoint(rng: Rng, folder: Path) -> Path:
    """A broken training checkpoint: its bytes, or what it holds."""
    path = folder / "last.ckpt"
    path.write_bytes(broken_checkpoint(rng, corpus.checkpoint()))
    return path


def broken_checkpoint(rng: Rng, content: dict[str, Any]) -> bytes:
    """A checkpoint as torch writes it, of changed bytes or with odd values."""
    if rng.random() < 0.4:
        return mutated(rng, corpus.torch_file(content))
    if rng.random() < 0.3:
        names = [*content["state_dict"]]
        content["state_dict"][names[rng.integers(len(names))]] = ODD_TENSORS[rng.integers(len(ODD_TENSORS))]
        return corpus.torch_file(content)
    return corpus.torch_file(mutated_value(rng, content))


def read_network(path: Path, output: Path) -> None:
    """As predict, export and the page load it; a network that is taken is used once."""
    with _refusable():
        network_record(path)
    with _refusable():
        remover_prediction(str(path))
    remover_digest(str(path))
    network = load_remover(str(path))
    with torch.no_grad():
        network(torch.rand(1, 3, 32, 32))


# Archives

NAMES = (
    "a.jpg",
    "a/b.jpg",
    "../a",
    "a/../../b",
    "/a",
    "C:\\a",
    "..\\a",
    "",
    ".",
    "..",
    "a/",
    "a//b",
    "a\0b",
    "é.jpg",
    "n" * 300,
    "d/" * 400 + "x",
    "a.zip",
    "b.tar.gz",
    "...zip",
    "..tar",
    ".zip",
    ".crrn-unpacked.json",
    "a.jpg/b",
    "con",
    " ",
    "a\nb",
)
TYPES = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE)


def make_archive(rng: Rng, folder: Path) -> Path:
    """An archive with changed bytes, or with members of odd names, kinds and sizes."""
    originals = corpus.archives()
    kind = rng.integers(4)
    if kind < 2:
        content = mutated(rng, originals[rng.integers(len(originals))], originals)
    elif kind == 2:
        content = odd_zip(rng)
    else:
        content = odd_tar(rng)
    path = folder / "archive.zip"
    path.write_bytes(content)
    return path


def odd_zip(rng: Rng) -> bytes:
    """A zip of odd members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in rng.choice(NAMES, rng.integers(1, 6)):
            info = zipfile.ZipInfo(str(name) or "x")
            info.filename = str(name)
            if rng.random() < 0.2:
                info.external_attr = int(rng.choice([0o120777, 0o020666, 0o010644, 0o040755])) << 16
            inner = corpus.archives()[0] if info.filename.endswith((".zip", ".tar.gz")) and rng.random() < 0.5 else b""
            archive.writestr(info, inner or rng.bytes(int(rng.integers(0, 99))))
    return file.getvalue()


def odd_tar(rng: Rng) -> bytes:
    """A tar of odd members, one of which may claim any size."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=int(rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))) as tar:
        for name in rng.choice(NAMES, rng.integers(1, 6)):
            info = tarfile.TarInfo(str(name))
            content = rng.bytes(int(rng.integers(0, 99)))
            info.size = len(content)
            if rng.random() < 0.3:
                info.type, info.linkname = TYPES[rng.integers(len(TYPES))], str(rng.choice(NAMES)).strip("\0")
                info.size, content = 0, b""
            tar.addfile(info, io.BytesIO(content))
    data = file.getvalue()
    if rng.random() < 0.3:  # a header that announces far more than there is
        header = tarfile.TarInfo("././@PaxHeader")
        header.type, header.size = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)[rng.integers(2)], 3 << 30
        data = header.tobuf(tarfile.GNU_FORMAT) + bytes(64 << 20) + data
    return gzip.compress(data, 1) if rng.random() < 0.5 or len(data) > 1 << 20 else data


def read_archive(path: Path, output: Path) -> None:
    """As `prepare` unpacks it."""
    unpack([path], output / "target")


# Folders


def make_run(rng: Rng, folder: Path) -> Path:
    """A run's folder of which one file is broken, gone, empty, a folder, or a link."""
    run = folder / "run"
    write_files(run, corpus.run_directory())
    spoil(rng, run, sorted(corpus.run_directory()))
    return run


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files into a folder that is made."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def spoil(rng: Rng, folder: Path, names: Sequence[str]) -> None:
    """Breaks one of the files, JSON more often than others, and checkpoints by what they hold too."""
    shares = np.array([3.0 if name.endswith((".json", ".ckpt")) else 1.0 for name in names])
    path = folder / str(rng.choice(names, p=shares / shares.sum()))
    content, kind = path.read_bytes(), rng.integers(20)
    if kind < 4:
        path.unlink()
    if kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to("/nowhere/at/all")
    elif kind == 3:
        path.symlink_to(path.name)
    elif kind == 4:
        path.write_bytes(b"")
    elif kind > 4 and path.suffix == ".json":
        path.write_bytes(mutated_json(rng, content))
    elif kind > 4 and path.suffix == ".ckpt":
        path.write_bytes(broken_checkpoint(rng, torch.load(io.BytesIO(content), weights_only=True)))
    elif kind > 4:
        path.write_bytes(mutated(rng, content))


def read_run(path: Path, output: Path) -> None:
    """As a remover and as a report read it."""
    with _refusable():
        load_remover(str(path))
    write_report(output / "report", gather("report", [], [path]))


def make_resumed(rng: Rng, folder: Path) -> Path:
    """The folder of a run that was stopped in its only stage, with one file broken."""
    write_files(folder / "runs/x", stopped_run())
    spoil(rng, folder / "runs/x", [name for name in sorted(stopped_run()) if name.endswith((".json", ".ckpt", ".csv"))])
    return folder


def overrides(photos: Path, epochs: int) -> list[str]:
    """A training of a second."""
    from tests.integration.conftest import tiny

    return tiny(
        photos, "stages=gin", f"stages.gin.epochs={epochs}", "name=x", "resume=auto", "data.loading.num_workers=0"
    )


_stopped: dict[str, bytes] = {}


def stopped_run() -> dict[str, bytes]:
    """The files of a run that has one epoch of two, made once for each process."""
    if not _stopped:
        import shutil
        import tempfile

        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for number in range(4):
                for role in ("background", "reflection"):
                    file = folder / "photos" / role / f"{number}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.roll(corpus.pixels(3, 8, 48, 64), number + len(role))).save(file)
            status, said = command(folder, overrides(folder / "photos", 2))
            assert status == 0, said
            run = folder / "runs/x"
            shutil.rmtree(run / "gin/panels", ignore_errors=True)
            for name in (
                "gin/result.json",
                "gin/weights.safetensors",
                "weights.safetensors",
                "summary.json",
                "summary.md",
            ):
                (run / name).unlink()
            for file in sorted(run.rglob("*")):
                if file.is_file():
                    _stopped[file.relative_to(run).as_posix()] = file.read_bytes()
            _stopped.update(
                {
                    f"../../photos/{f.relative_to(folder / 'photos')}": f.read_bytes()
                    for f in (folder / "photos").rglob("*.png")
                }
            )
    return _stopped


def command(folder: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Runs the training command in this process; gives its status and what it printed on stderr."""
    import os

    from hydra.core.global_hydra import GlobalHydra

    from crrn.cli.train import main

    os.chdir(folder)
    sys.argv = ["crrn-train", *arguments]
    GlobalHydra.instance().clear()
    said = io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            main()
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    return 0, said.getvalue()


def read_resumed(path: Path, output: Path) -> None:
    """As training goes on with it."""
    status, said = command(path, overrides(path / "photos", 3))
    if status == 0:
        return
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    if "Traceback" in said or len(lines) != 1:
        raise Fault(said)
    raise DataError(lines[0])


def make_record(rng: Rng, folder: Path) -> Path:
    """An output folder whose predictions.jsonl is broken."""
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(b"photo")
    (folder / "out").mkdir()
    content = corpus.record(folder)
    if rng.random() < 0.5:
        lines = content.strip().splitlines()
        content = b"\n".join(mutated_json(rng, line) if line and rng.random() < 0.7 else line for line in lines) + b"\n"
    else:
        content = mutated(rng, content)
    path = folder / "out" / RECORD
    path.write_bytes(content)
    if rng.random() < 0.1:
        path.unlink()
        path.symlink_to(folder / "elsewhere.txt")
    if rng.random() < 0.1:
        (folder / "elsewhere").mkdir()
        (folder / "out/deep").symlink_to(folder / "elsewhere")
    return folder


def read_record(path: Path, output: Path) -> None:
    """As predict looks up what is done, and notes what it does."""
    from crrn.files import write_atomically

    folder = path / "out"
    record = Record(folder, "0123456789abcdef")
    for name in ("1.png", "deep/2.png"):
        job = Job(path / Path(name).name, {"background": folder / name})
        record.remove_leftovers([job])
        if record.done(job):
            raise Fault(f"{name} is not there, and said to be done")
        with _refusable():
            record.refuse_foreign(job)
            with write_atomically(folder / name) as file:
                file.write(b"result")
                record.add(job, folder / name, file)
            if not Record(folder, "0123456789abcdef").done(job):
                raise Fault("what was noted is not known")


def _photos(kind: str, suffix: str, cases: int) -> Target:
    return Target(cases, partial(make_photo, kind=kind, suffix=suffix), read_any_photo)


TARGETS = {
    "jpeg": _photos("jpeg", ".jpg", 2500),
    "png": _photos("png", ".png", 2500),
    "webp": _photos("webp", ".webp", 1500),
    "tiff": _photos("tiff", ".tiff", 2500),
    "heic": _photos("heic", ".heic", 1000),
    "bmp": _photos("bmp", ".bmp", 500),
    "avif": _photos("avif", ".avif", 500),
    "weights": Target(2000, make_weights, read_network),
    "checkpoint": Target(2000, make_checkpoint, read_network),
    "archive": Target(2000, make_archive, read_archive),
    "run": Target(1500, make_run, read_run),
    "resume": Target(300, make_resumed, read_resumed),
    "record": Target(2000, make_record, read_record),
}
