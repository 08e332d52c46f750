"""A small part of the campaign of `tests.fuzz`: broken files are taken or refused, and do nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.fuzz import campaign
from tests.fuzz.targets import TARGETS, Target

from crrn.errors import DataError

Read = Callable[[Path, Path], None]
CASES = {"archive": 6, "run": 6, "checkpoint": 8, "resume": 0}
"""Of the slower ones; the whole campaign has all."""


@pytest.mark.parametrize("kind", [kind for kind in TARGETS if CASES.get(kind) != 0])
def test_broken_files(kind: str) -> None:
    if kind == "heic":
        pytest.importorskip("pillow_heif")
    cases = CASES.get(kind, 12)
    outcome = campaign.run(kind, cases)
    assert outcome.cases == cases and not outcome.faults, outcome.faults


def crash(path: Path, output: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(path: Path, output: Path) -> None:
    while True:
        pass


def trace(path: Path, output: Path) -> None:
    raise KeyError("x")


def lines(path: Path, output: Path) -> None:
    raise DataError("one\ntwo")


def surrogate(path: Path, output: Path) -> None:
    raise DataError("half of a character: \ud800")


def stray(path: Path, output: Path) -> None:
    (path.parent / "stray").touch()


def far(path: Path, output: Path) -> None:
    Path("/tmp/crrn-fuzz-far").touch()
    Path("/tmp/crrn-fuzz-far").unlink()


def through_a_link(path: Path, output: Path) -> None:
    (output / "link").symlink_to("/tmp/crrn-fuzz-far")
    (output / "link").write_text("x")
    Path("/tmp/crrn-fuzz-far").unlink()


def memory(path: Path, output: Path) -> None:
    np.ones((campaign._peak() + 2 * campaign.MEMORY) // 8)  # of 8 bytes each, and more than the process ever held


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (crash, "crash: the process died with status -11"),
        (hang, "hang"),
        (trace, "KeyError: 'x'"),
        (lines, "several lines"),
        (stray, "given/stray"),
        (far, "crrn-fuzz-far"),
        (through_a_link, "crrn-fuzz-far"),
        (memory, "MiB of memory"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_fault_is_found(read: Read, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "png", Target(1, TARGETS["png"].make, read))
    monkeypatch.setattr(campaign, "CPU_SECONDS", 0.3 if read is hang else 20)
    monkeypatch.setattr(campaign, "MEMORY", 64 << 20)
    outcome = campaign.run("png", 2)
    assert outcome.cases == 2 and [says in text for text in outcome.faults.values()] == [True, True], outcome.faults


def test_a_refusal_may_quote_what_no_encoding_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "png", Target(1, TARGETS["png"].make, surrogate))
    outcome = campaign.run("png", 2)
    assert outcome.refused == 2 and not outcome.faults


def over_a_link(path: Path, output: Path) -> None:
    (output / "link").symlink_to("/nowhere/at/all")
    (output / "new").touch()
    (output / "new").replace(output / "link")


def test_a_link_that_is_replaced_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "png", Target(1, TARGETS["png"].make, over_a_link))
    outcome = campaign.run("png", 2)
    assert outcome.taken == 2 and not outcome.faults, outcome.faults
