"""``python -m src.resume_check``: kills a run, resumes it, and compares its weights with those of an uninterrupted run.

It runs three small trainings on the demo photos, each in its own process:

- one from start to end,
- one that is killed by SIGKILL in its second stage,
- one that resumes the second.

Overrides, as of ``crrn train``, apply to all three.
"""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from crrn.errors import CrrnError, RunError

SETTINGS = (
    "experiment=demo",
    "stages.gin.epochs=1",
    "stages.joint.epochs=2",
    "width=0.1",
    "data.batches.batch_size=2",
    "data.batches.samples_per_epoch=24",
    "data.batches.sizes=[64x96,96x64]",
    "data.validation.mixtures=4",
    "data.validation.size=64x96",
    "trainer.accelerator=cpu",
    "logging.checkpoint_every_n_steps=5",
    "logging.metrics_every_n_steps=1",
)
STAGES = ("gin", "joint")
TIMINGS = "speed/"
"""The prefix of the columns that differ from run to run."""
WEIGHTS = "weights.safetensors"


def main() -> None:
    """The command. Exits with status 1 where the two runs differ."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            check(Path(folder), sys.argv[1:])
        except CrrnError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)


def check(root: Path, overrides: Sequence[str] = ()) -> None:
    """Runs the three trainings below ``root`` and compares.

    Raises:
        RunError: a training failed, or the two ends differ.
    """
    whole, killed = root / "whole", root / "killed"
    print("1. A run from start to end ...", flush=True)
    finish(start(whole, overrides))
    print("2. The same run, killed in its second stage ...", flush=True)
    process = start(killed, overrides)
    kill_when_there(process, killed / "joint" / "last.ckpt")
    print(f"   killed by SIGKILL after step {curve(killed / 'joint')[-1]['step']} of stage joint")
    print("3. Resumed ...", flush=True)
    finish(start(killed, [*overrides, "resume=auto"]))
    for stage in STAGES:
        if curve(whole / stage) != curve(killed / stage):
            raise RunError(
                f"The curves of stage {stage} differ between the run that was killed and the one that was not."
            )
    digests = [hashlib.blake2b((run / WEIGHTS).read_bytes(), digest_size=16).hexdigest() for run in (whole, killed)]
    print(f"   uninterrupted    {WEIGHTS}  {digests[0]}\n   killed, resumed  {WEIGHTS}  {digests[1]}")
    if digests[0] != digests[1]:
        raise RunError("The weights of the run that was killed differ from those of the one that was not.")
    rows = sum(len(curve(whole / stage)) for stage in STAGES)
    print(f"The weights are identical, bit for bit, and so are the {rows} rows of the logged curves.")


def start(run: Path, overrides: Sequence[str]) -> subprocess.Popen[str]:
    """Starts a training in ``run``."""
    place = (f"run_root={run.parent}", f"name={run.name}")
    return subprocess.Popen(
        [sys.executable, "-m", "crrn.cli.train", *SETTINGS, *overrides, *place],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def finish(process: subprocess.Popen[str]) -> None:
    """Waits for a training.

    Raises:
        RunError: with its output, where it failed.
    """
    out, _ = process.communicate()
    if process.returncode:
        raise RunError(f"The training failed:\n{out}")


def kill_when_there(process: subprocess.Popen[str], file: Path) -> None:
    """Kills a training as soon as it has written a file.

    Raises:
        RunError: it ended before.
    """
    while not file.exists():
        if process.poll() is not None:
            finish(process)
            raise RunError("The training ended before it could be killed.")
        time.sleep(0.005)
    process.kill()
    process.communicate()


def curve(stage: Path) -> list[dict[str, str]]:
    """The logged rows of a stage, without its timings."""
    with (stage / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if not key.startswith(TIMINGS)} for row in csv.DictReader(file)
        ]


if __name__ == "__main__":
    main()
