"""Claims between real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crrn.claims import claim
from crrn.errors import RunError

CLAIMS = """
import os, sys, time
from pathlib import Path
from crrn.claims import claim

claimed = claim(Path(sys.argv[1]), "busy")
if "fork" not in sys.argv or os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(600)
"""


def started(file: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    """A process that claims the file and then sleeps, and the number of the process that said so: itself, or with
    the word fork the one that it forked then."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIMS, str(file), *words], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    other, _ = started(tmp_path / "lock")
    with pytest.raises(RunError, match="busy"):
        claim(tmp_path / "lock", "busy")
    other.kill()  # a killed process leaves no claim
    other.communicate()
    claim(tmp_path / "lock", "busy").release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_does_not_hold_the_claim(tmp_path: Path) -> None:
    parent, child = started(tmp_path / "lock", "fork")
    try:
        parent.kill()
        parent.wait()
        os.kill(int(child), 0)  # is there
        claim(tmp_path / "lock", "busy").release()
    finally:
        os.kill(int(child), signal.SIGKILL)
        parent.communicate()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_that_ends_leaves_the_claim(tmp_path: Path) -> None:
    claimed = claim(tmp_path / "lock", "busy")
    forked = os.fork()
    if forked == 0:
        claimed.release()
        os._exit(0)
    os.waitpid(forked, 0)
    script = "import sys; from pathlib import Path; from crrn.claims import claim; claim(Path(sys.argv[1]), 'busy')"
    other = subprocess.run([sys.executable, "-c", script, tmp_path / "lock"], capture_output=True, text=True)
    assert other.returncode != 0 and "busy" in other.stderr
    claimed.release()


def test_a_process_may_claim_again(tmp_path: Path) -> None:
    first, second = claim(tmp_path / "lock", "busy"), claim(tmp_path / "lock", "busy")
    first.release()
    assert second.is_locked
    second.release()
    assert not second.is_locked


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        claim(tmp_path / "file" / "lock", "busy")


@pytest.mark.slow
def test_the_package_needs_no_module_that_windows_lacks(tmp_path: Path) -> None:
    """Only filelock may look for fcntl. What Windows does otherwise is not tested here."""
    script = """
import math, sys
sys.modules |= dict.fromkeys(("fcntl", "resource", "termios", "pwd", "grp"))
import crrn.data.preparation, crrn.training, crrn.inference, crrn.cli.train, crrn.cli.eval, crrn.cli.main
from crrn.allocator import Path, peak_memory
assert peak_memory() > 0
Path.read_text = lambda *_: open("/nowhere")
assert math.isnan(peak_memory())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
