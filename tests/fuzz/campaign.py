"""Running cases in processes of their own, so that a crash or a hang is one case's and not the campaign's."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crrn.errors import CrrnError
from tests.fuzz.targets import TARGETS, one_line

CPU_SECONDS = 20
"""That one case may compute; most take milliseconds."""
WALL_SECONDS = 300
MEMORY = 400 << 20
"""Bytes that one case may add to the process's peak."""
ADDRESSES = 3 << 30
"""Bytes of addresses beyond what the process has when it begins."""

HARMLESS = (os.devnull, "/dev/shm", "/proc/self")


@dataclass
class Outcome:
    """What became of the cases of one kind."""

    kind: str
    taken: int = 0
    refused: int = 0
    faults: dict[int, str] = field(default_factory=dict)
    """By the case's number."""
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        """All of them."""
        return self.taken + self.refused + len(self.faults)


def run(kind: str, cases: int, seed: int = 0, first: int = 0) -> Outcome:
    """Runs the cases ``first`` to ``first + cases`` of a kind."""
    outcome, began, number = Outcome(kind), time.monotonic(), first
    while number < first + cases:
        for verdict, text in _in_a_child(kind, seed, number, first + cases):
            if verdict == "taken":
                outcome.taken += 1
            elif verdict == "refused":
                outcome.refused += 1
            else:
                outcome.faults[number] = text
            number += 1
    outcome.seconds = time.monotonic() - began
    return outcome


def _in_a_child(kind: str, seed: int, start: int, end: int) -> Iterator[tuple[str, str]]:
    """A verdict for each case, from a forked process; the last one says how that process died, if it did."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 on forks: no other thread holds a lock here
        child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w", errors="backslashreplace") as pipe:
            _work(kind, seed, range(start, end), pipe)
        os._exit(0)
    os.close(writing)
    number = start
    with os.fdopen(reading) as pipe:
        for line in pipe:
            verdict, _, text = line.rstrip("\n").partition(" ")
            yield verdict, text
            number += 1
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if number < end:
        names = {-signal.SIGPROF: f"hang: more than {CPU_SECONDS} s of computing", -signal.SIGALRM: "hang"}
        yield "fault", names.get(status, f"crash: the process died with status {status}")


def _work(kind: str, seed: int, numbers: range, pipe: Any) -> None:
    """The child: a line for each case, as soon as it is done."""
    _prepare_process()
    stray: list[str] = []
    places: list[str] = []
    _watch_writes(stray, places)
    for number in numbers:
        with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
            places[:] = [os.path.realpath(folder)]
            verdict = one_case(kind, seed, number, Path(folder), stray)
            os.chdir("/")
        pipe.write(" ".join(verdict.splitlines()) + "\n")
        pipe.flush()


def one_case(kind: str, seed: int, number: int, folder: Path, stray: list[str]) -> str:
    """Makes and reads one case: "taken", "refused", or "fault" and why."""
    given, output = folder / "given", folder / "output"
    given.mkdir()
    output.mkdir()
    target = TARGETS[kind]
    rng = np.random.default_rng([seed, sorted(TARGETS).index(kind), number])
    path = target.make(rng, given)
    _forget_peak()
    before, peak = _listing(folder), _peak()
    stray.clear()
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    verdict = "taken"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            target.read(path, output)
        except CrrnError as error:
            try:
                one_line(error)
                verdict = f"refused {error}"
            except Exception as fault:
                verdict = f"fault {fault}"
        except BaseException as error:  # whatever it is, it is what this looks for
            verdict = f"fault {type(error).__name__}: {error} at {_place(error)}"
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    new = {path for path in _listing(folder) - before if not path.startswith(("output/", *WRITES_INTO.get(kind, ())))}
    if verdict.startswith("fault"):
        return verdict
    if stray or new:
        return f"fault files outside of the output: {[*stray, *sorted(new)][:3]}"
    if warned:
        return f"fault a warning: {warned[0].category.__name__}: {warned[0].message} at {warned[0].filename}"
    if _peak() - peak > MEMORY:
        return f"fault {(_peak() - peak) >> 20} MiB of memory"
    return verdict


WRITES_INTO = {"record": ("given/out/",), "resume": ("given/runs/x/", "given/train.log")}
"""Where the folder that is read is the output too."""


def _place(error: BaseException) -> str:
    """The innermost lines of the traceback."""
    places, trace = [], error.__traceback__
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(places[-4:]))


def _listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _peak() -> int:
    """Bytes that the process had at most since `_forget_peak`."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10  # type: ignore[index]


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _prepare_process() -> None:
    """Limits, and silence for what C libraries print."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)  # a hang in C runs no handler of Python's
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, used + ADDRESSES))


def _watch_writes(stray: list[str], places: list[str]) -> None:
    """Notes each file that is written, moved or linked outside of the case's folder, and each program that is run."""

    def hook(event: str, values: tuple[Any, ...]) -> None:
        base = ""
        if event == "open":
            writes = isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            paths = values[:1] if writes else ()
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):
            paths, base = values[:1], _folder(values[-1])
        elif event in ("os.truncate", "os.chmod"):
            paths = values[:1]
        elif event in ("os.rename", "os.link"):
            paths, base = values[:2], _folder(values[-1])
        elif event == "os.symlink":
            paths = values[1:2]
        elif event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"):
            if values[0] == "git":  # what a run notes of the checkout
                return
            stray.append(f"{event} {values}")
            return
        else:
            return
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                place = Path(base, os.fsdecode(path))
                # These act on a name: what is a link is replaced or removed, and what it points to stays as it is.
                named = event in ("os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.mkdir")
                real = str(Path(os.path.realpath(place.parent), place.name)) if named else os.path.realpath(place)
                if not real.startswith((*places, *HARMLESS)):
                    stray.append(f"{event} {real}")

    sys.addaudithook(hook)


def _folder(number: int) -> str:
    """The folder that a path counts from, of an open folder's number; -1 is the working directory."""
    return str(Path(f"/proc/self/fd/{number}").readlink()) if number >= 0 else ""


@contextmanager
def kept(kind: str, seed: int, number: int) -> Iterator[Path]:
    """The file or folder of a case, to look at."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{kind}-{number}-"))
    try:
        rng = np.random.default_rng([seed, sorted(TARGETS).index(kind), number])
        yield TARGETS[kind].make(rng, folder)
    finally:
        shutil.rmtree(folder)
