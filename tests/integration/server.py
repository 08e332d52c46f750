"""The web page's server as a process of its own, for the tests that ask it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.conftest import ROOT

PATIENCE = 240  # seconds, on a busy machine


@dataclass(frozen=True)
class Demo:
    """A running server."""

    address: str
    process: subprocess.Popen[str]
    temporary: Path


@contextmanager
def started(
    folder: Path,
    *settings: str,
    command: Sequence[str] = (sys.executable, "-m", "src.demo"),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Demo]:
    """The page's server in a folder, until the block ends; by default ``python -m src.demo`` of this checkout."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "tmp").mkdir()
    environment = {
        **(environment or {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}),
        "TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": "1",
        "no_proxy": "127.0.0.1",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "solvers=false", f"port={port}", *settings],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        ends = time.monotonic() + PATIENCE
        while "The demo is at" not in (folder / "log").read_text():
            assert process.poll() is None and time.monotonic() < ends, (folder / "log").read_text()
            time.sleep(0.2)
        yield Demo(f"http://127.0.0.1:{port}", process, folder / "tmp")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    left = [path.name for path in (folder / "tmp").iterdir() if not path.name.startswith("torchinductor_")]
    assert not left  # no photo stays behind; PyTorch makes that folder for its compiler's files
    assert str(ROOT / "src") not in (folder / "log").read_text()  # no traceback of ours; Gradio's tell of intruders
