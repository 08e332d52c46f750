"""Running the real command, in this process where that is enough and as a process of its own where it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


def tiny(photos: Path, *overrides: str) -> list[str]:
    """Overrides that make any training a matter of a second: 3 steps of 2 mixtures an epoch at width 0.05."""
    return [
        "data=folders",
        f"data.background={photos / 'background'}",
        f"data.reflection={photos / 'reflection'}",
        "data.batches.batch_size=2",
        "data.batches.sizes=[32x48,48x32]",
        "data.batches.samples_per_epoch=6",
        "data.sources.held_out=0.3",
        "data.validation.mixtures=3",
        "data.validation.size=32x48",
        "net.width=0.05",
        "init=null",
        "trainer.accelerator=cpu",
        "watching.curves_every_n_steps=1",
        *overrides,
    ]


SHORT = ("stages.gin.epochs=1", "stages.joint.epochs=2", "stages.joint.schedule.milestones=[1]")
"""Both stages, three epochs in all."""


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Outcome]:
    """Runs ``crrn-train`` in this process, in an empty working directory."""
    from crrn.cli.train import main

    def run(*overrides: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setattr(sys, "argv", ["crrn-train", *overrides])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfd.readouterr()
        return Outcome(int(exit_.value.code or 0), out, err)

    return run


def inherited() -> dict[str, str]:
    """The environment of this process, without the W&B service that a test may have started in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB_SERVICE")}


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """Starts ``python -m src.train`` in ``folder`` as a process of its own."""
    environment = {
        **inherited(),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "WANDB_MODE": "offline",
        "COLUMNS": "200",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", *overrides],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Zygote:
    """Real runs as processes of their own, without the seconds that their imports take; see ``zygote.py``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {
            **inherited(),
            "OMP_NUM_THREADS": "1",
            "WANDB_MODE": "offline",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, event: int | None = None, seconds: float | None = None) -> tuple[int, int]:
        """Runs the command to its end or its death; gives its exit status and the number of events."""
        order = {"arguments": arguments, "log": str(self.log), "event": event, "seconds": seconds}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["status"], answer["events"]

    @property
    def log(self) -> Path:
        return self.folder / "log"


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """One for all tests; they tell their runs apart by ``name``."""
    zygote = Zygote(tmp_path_factory.mktemp("forked"))
    yield zygote
    zygote.process.communicate(timeout=600)
