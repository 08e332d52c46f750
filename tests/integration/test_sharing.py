"""Several processes share the photos or the cases: each is done once, with the results of one process."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_photo
from tests.integration.conftest import ROOT
from tests.integration.test_eval import IMAGES, Evaluate, evaluate, pairs, table
from tests.integration.test_predict import Predict, killed_before, pixels, predict

__all__ = ["evaluate", "pairs", "predict"]

PHOTOS = 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(PHOTOS):
        write_photo(tmp_path / f"in/{number}.png", number, 40, 60)
    return tmp_path / "in"


def lines(output: Path) -> dict[str, list[str]]:
    """The results that each record tells of."""
    return {
        path.name: [json.loads(line)["output"] for line in path.read_text().splitlines() if line]
        for path in sorted(output.glob("predictions*.jsonl"))
    }


def results(output: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in output.glob("*.png")}


def as_process(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world))


def test_tasks_of_an_array_do_each_photo_once_and_what_a_killed_one_left(
    predict: Predict, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = (f"input={folder}", "remover=yl19")
    assert predict(*settings, "output=alone").status == 0
    as_process(monkeypatch, 0, 2)
    outcome = predict(*settings, "output=out")
    assert outcome.status == 0 and "4 of 4 to do, the share of process 0 of 2" in outcome.err
    as_process(monkeypatch, 1, 2)
    killed = ["device=cpu", *settings, f"output={tmp_path / 'out'}"]
    assert killed_before(4, killed, tmp_path / "out") == -signal.SIGKILL
    before = results(tmp_path / "out")
    assert 4 <= len(before) < PHOTOS
    for rank in range(3):  # another number of processes
        as_process(monkeypatch, rank, 3)
        assert predict(*settings, "output=out").status == 0
    after = results(tmp_path / "out")
    assert len(after) == PHOTOS and before.items() <= after.items(), "nothing is done twice"
    for name in after:
        assert (pixels(tmp_path / "out" / name) == pixels(tmp_path / "alone" / name)).all()
    assert set(lines(tmp_path / "out")) <= {"predictions.jsonl", "predictions.1.jsonl", "predictions.2.jsonl"}
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name)
    assert "0 of 7 to do" in predict(*settings, "output=out").err


def test_tasks_of_an_array_evaluate_each_case_once(
    evaluate: Evaluate, pairs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = ("removers=[yl19]", "protocol=[native]", "cases=1")
    assert evaluate(*options, "evaluation_root=alone").status == 0
    for rank in (1, 0):  # in any order
        as_process(monkeypatch, rank, 2)
        assert evaluate(*options).status == 0
        assert not (tmp_path / "evaluations/tiny/summary.json").exists()
    images = tmp_path / "evaluations/tiny/images/pairs/native"
    assert {path.name for path in images.iterdir()} == {
        f"{label}.csv{part}" for label in ("identity", "yl19") for part in ("", ".1")
    }
    with (images / "yl19.csv.1").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["1", "3"]
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("crrn.evaluation.runner.Evaluation._case", lambda *_: pytest.fail("all is done"))
    assert evaluate(*options).status == 0
    assert {path.name for path in images.iterdir()} == {"identity.csv", "yl19.csv"}
    for label in ("identity", "yl19"):
        with (tmp_path / f"alone/tiny/images/pairs/native/{label}.csv").open(newline="") as file:
            expected = list(csv.DictReader(file))
        assert len(expected) == IMAGES
        for row, other in zip(table(tmp_path, "native", label), expected, strict=True):
            assert {**row, "seconds": ""} == {**other, "seconds": ""}
    summaries = [tmp_path / root / "tiny/summary.json" for root in ("evaluations", "alone")]
    ours, theirs = (json.loads(path.read_text())["results"][0] for path in summaries)
    assert ours["tests"] == theirs["tests"]


FRAGILE = """
import os, signal, sys
from crrn.inference import photo
read, seen = photo.read_photo, []
def fatal(*arguments):
    seen.append(1)
    if os.environ["RANK"] == "1" and len(seen) == 2 and os.path.exists("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*arguments)
photo.read_photo = fatal
from crrn.cli.predict import main
main()
"""


def torchrun(processes: int, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_torchrun_shares_photos_and_survives_a_killed_process(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    (tmp_path / "kill").touch()
    (folder / "3.png").write_bytes(b"no photo")
    settings = (f"input={folder}", f"output={tmp_path / 'out'}", "remover=identity", "device=cpu")
    died = torchrun(2, "fragile.py", *settings, cwd=tmp_path)
    assert died.returncode != 0 and not {"3.png", "5.png"} & set(results(tmp_path / "out")), died.stderr
    (tmp_path / "kill").unlink()
    before = results(tmp_path / "out")

    again = torchrun(2, "-m", "src.predict", *settings)
    assert again.returncode == 1 and again.stderr.count("for the reasons above") == 1, again.stderr
    assert "1 of 7 failed (3.png)" in again.stderr
    assert again.stderr.count("model: ") == again.stderr.count("made by the 2 processes: ") == 1
    after = results(tmp_path / "out")
    assert before.items() <= after.items() and len(after) == PHOTOS - 1
    done = lines(tmp_path / "out")
    assert set(done) == {"predictions.jsonl", "predictions.1.jsonl"}
    assert sorted(name for names in done.values() for name in names) == sorted(after), "each once"
    for name in after:
        assert (pixels(tmp_path / "out" / name) == pixels(folder / name)).all()


@pytest.mark.slow
def test_torchrun_sums_up_an_evaluation_once(pairs: Path, tmp_path: Path) -> None:
    arguments = ("benchmark=[folder]", f"benchmark.folder.root={pairs}", "name=tiny", "device=cpu", "cases=1")
    done = torchrun(2, "-m", "src.eval", *arguments, f"evaluation_root={tmp_path / 'evaluations'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("All tables: ") == 1
    assert [row["image"] for row in table(tmp_path, "crrn", "identity")] == [str(n) for n in range(IMAGES)]
    folder = tmp_path / "evaluations/tiny"
    assert not list(folder.rglob("*.csv.*"))
    assert len(json.loads((folder / "evaluation.json").read_text())["sessions"]) == 1


@pytest.mark.slow
def test_the_example_for_slurm_does_all_photos_and_sums_up(folder: Path, tmp_path: Path) -> None:
    """The tasks and the last job as submitit runs them, one after the other."""
    pytest.importorskip("submitit")
    script = ROOT / "experiments/slurm/predict_array.py"
    settings = (f"input={folder}", f"output={tmp_path / 'out'}", "remover=identity", "device=cpu")
    done = subprocess.run(
        [sys.executable, script, "2", *settings, "--cluster=debug"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path / "out")) == PHOTOS
    assert {name: len(names) for name, names in lines(tmp_path / "out").items()} == {
        "predictions.jsonl": 4,
        "predictions.1.jsonl": 3,
    }
    assert "0 of 7 to do" in done.stderr, "the last job found nothing left"


def test_the_example_submits_an_array_and_a_job_that_waits_for_it(tmp_path: Path) -> None:
    """What sbatch gets; nothing is run."""
    pytest.importorskip("submitit")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sbatch", "srun"):
        (commands / name).write_text(
            f'#!/bin/sh\ncp "$1" "$(mktemp {tmp_path}/job.XXXX)"\necho Submitted batch job 71\n'
        )
        (commands / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, ROOT / "experiments/slurm/predict_array.py", "64", "input=photos", "output=clean"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    assert "array 71 with 64 tasks, then job 71" in done.stdout
    scripts = sorted((path.read_text() for path in tmp_path.glob("job.*")), key=lambda text: "--dependency" in text)
    array, last = scripts
    assert "--array=0-63" in array and "--dependency" not in array
    assert "--dependency=afterany:71" in last and "--array" not in last
    for script in scripts:
        assert "--partition=cpu" in script and "--cpus-per-task=2" in script and "--mem=8GB" in script
