"""Running the real command, in this process where that is enough and as a process of its own where it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


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
        "width=0.05",
        "init=null",
        "trainer.accelerator=cpu",
        "logging.metrics_every_n_steps=1",
        *overrides,
    ]


def with_pairs(photos: Path) -> list[str]:
    """Overrides that add real pairs, of a share that grows over each stage, crops, and every formation model."""
    return [
        f"data.sources.pairs=[{photos / 'pairs'}]",
        "data.sources.pair_share={0:0.5,0.6:1}",
        "data.sources.pair_jitter=0.1",
        "data.sources.pair_tone=match",
        "data.batches.scale=[0.5,1]",
        "mixing=photo",
        "mixing.weights.transfer=1",
    ]


SHORT = ("stages.gin.epochs=1", "stages.joint.epochs=2", "stages.joint.schedule.milestones=[0.5]")
"""Both stages, three epochs in all."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs ``crrn-NAME`` in this process, in an empty working directory."""

    def run(name: str, *arguments: str) -> Outcome:
        main = import_module(f"crrn.cli.{name}").main
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [f"crrn-{name}", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capfd.readouterr()
        return Outcome(int(exit_.value.code or 0), out, err)

    return run


@pytest.fixture
def train(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Runs ``crrn-train``, as `command` does."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    return partial(command, "train")


class Stopped(Exception):
    """Stands for whatever ends a process."""


@contextmanager
def stopped_at(step: int, stage: str | None = None) -> Iterator[None]:
    """Ends each training in this process at an optimizer step of a stage, by default of the first that gets there."""
    from crrn.training import StageTraining

    training_step = StageTraining.training_step

    def stop(self: StageTraining, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == step and stage in (None, self.name):
            raise Stopped
        return training_step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StageTraining, "training_step", stop)
        yield


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
