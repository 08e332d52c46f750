"""Sweeps: separate runs, a table of all jobs, and a study that goes on."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import sqlite3
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Outcome, Zygote, start, tiny
from tests.integration.wandb_files import OfflineRun

Train = Callable[..., Outcome]

SLURM = Path(__file__).with_name("slurm.py")
GIN = ("stages=gin", "stages.gin.epochs=1", "net=gin")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def free_port() -> int:
    """A port that nobody listens on, of those that Lightning derives from SLURM's job ids."""
    for port in range(15000 + os.getpid() % 9000, 25000):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)):
                return port
    raise OSError("no free port between 15000 and 25000")


def test_eight_jobs_are_eight_runs(zygote: Zygote, photos: Path) -> None:
    status, _ = zygote(
        "-m",
        *tiny(photos, *GIN, "logger=wandb", "logger.wandb.log_weights=true", "name=eight"),
        "seed=1,2,3,4",
        "optimizer=adam,adamw",
    )
    assert status == 0, zygote.log.read_text()
    sweep = zygote.folder / "runs/sweeps/eight"
    runs = [OfflineRun(folder) for folder in sorted(sweep.glob("*/wandb/offline-run-*"))]
    assert len({run.run.run_id for run in runs}) == len({run.run.display_name for run in runs}) == len(runs) == 8
    assert {(run.config["seed"], run.config["optimizer"]["algorithm"]) for run in runs} == {
        (seed, f"torch.optim.{name}") for seed in (1, 2, 3, 4) for name in ("Adam", "AdamW")
    }
    for run in runs:
        assert (run.run.run_group, run.run.job_type, list(run.run.tags)) == ("eight", "train", ["none"])
        assert run.config["ablation"] == "none"
        assert len(run.logged("gin/train/loss")) == 3 and len(run.logged("gin/val/gradient_si")) == 1
        assert run.logged("trainer/global_step")[0] == 1
        assert run.logged("gin/panel") and run.logged("gin/images")[0]["nrows"] == 3
        assert run.summary["final/gradient_si"] == run.logged("gin/val/gradient_si")[0]
        assert [artifact.type for artifact in run.artifacts if artifact.type == "model"] == ["model"]
        assert run.exit_code == 0
        kept = {metric.glob_name: metric.summary for metric in run.metrics if metric.glob_name}
        assert kept["gin/train/*"].min and kept["gin/val/*"].max
        assert run.summary["gin/train/loss"]["min"] == min(run.logged("gin/train/loss"))
        assert run.summary["gin/val/gradient_si"]["max"] == run.logged("gin/val/gradient_si")[0]

    rows = table(sweep)
    assert [row["job"] for row in rows] == [str(n) for n in range(8)]
    assert {row["status"] for row in rows} == {"done"}
    by_folder = {row["folder"]: row for row in rows}
    for folder, row in by_folder.items():
        assert (
            float(row["val/gradient_si"])
            == json.loads((sweep / folder / "summary.json").read_text())["val/gradient_si"]
        )
    assert len((sweep / "sweep.md").read_text().splitlines()) == 4 + 8
    assert "Sweep runs/sweeps/eight" in zygote.log.read_text()


def test_a_resumed_run_goes_on_with_its_wandb_run(zygote: Zygote, photos: Path) -> None:
    settings = tiny(photos, *GIN, "logger=wandb", "name=continued", "logging.checkpoint_every_n_steps=1")
    status, _ = zygote(*settings, event=40)
    assert status == -9
    status, _ = zygote(*settings, "resume=auto")
    assert status == 0, zygote.log.read_text()
    before, after = sorted((zygote.folder / "runs/continued/wandb").glob("offline-run-*"))
    identity = (zygote.folder / "runs/continued/wandb_id").read_text()
    assert before.name.endswith(identity) and after.name.endswith(identity)
    run = OfflineRun(after)
    # by the run's `resume`, `wandb sync` adds the later file to the earlier one instead of writing over it
    assert (run.run.run_id, run.run.resume, run.exit_code) == (identity, True, 0)


@pytest.mark.slow
def test_a_failed_job_does_not_poison_the_next(train: Train, photos: Path, tmp_path: Path) -> None:
    outcome = train("-m", *tiny(photos, *GIN, "name=mixed"), "width=0.05,-1,0.06", "ema_decay=null,3")
    assert outcome.status == 1
    rows = table(tmp_path / "runs/sweeps/mixed")
    status = {(row["width"], row["ema_decay"]): row["status"] for row in rows}
    assert status == {
        (width, decay): "done" if width != "-1" and decay == "null" else "failed"
        for width in ("0.05", "-1", "0.06")
        for decay in ("null", "3")
    }
    assert all(bool(row["error"]) == (row["status"] == "failed") for row in rows)
    assert "ema_decay=3.0" in rows[1]["error"] or "ema_decay=3" in rows[1]["error"]
    assert outcome.out.count("failed") >= 4


@pytest.mark.slow
def test_slurm_runs_each_job_in_a_process_group_of_its_own(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        shutil.copy(SLURM, commands / name)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM_JOB_ID", str(free_port() - 15000))  # Lightning's port: 15000 + the id's last digits
    process = start(
        tmp_path,
        "-m",
        *tiny(photos, *GIN, "name=cluster", "launcher=slurm", "trainer.devices=2", "hydra.launcher.partition=any"),
        "seed=1,2",
    )
    out, _ = process.communicate(timeout=600)
    sweep = tmp_path / "runs/sweeps/cluster"
    logs = "\n".join(path.read_text() for path in sweep.rglob("*_log.*"))
    assert process.returncode == 0, out + logs
    assert [row["status"] for row in table(sweep)] == ["done", "done"], logs
    jobs = [sweep / row["folder"] for row in table(sweep)]
    for job in jobs:
        log = (job / "train.log").read_text()
        assert log.count("on 2 devices") == 1, log
        assert len(log.splitlines()) == len(set(log.splitlines())), log
        assert (job / ".hydra/config.yaml").exists() and (job / "weights.safetensors").exists()
    assert (jobs[0] / "weights.safetensors").read_bytes() != (jobs[1] / "weights.safetensors").read_bytes()
    others = list((sweep / ".submitit").rglob("*_1_log.out"))
    assert len(others) == 2 and all(path.read_text().count("Stage") == 0 for path in others)


@pytest.mark.slow
def test_jobs_at_a_time_on_this_machine(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    process = start(tmp_path, "-m", *tiny(photos, *GIN, "name=both", "launcher=joblib"), "seed=1,-1,2")
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 1, out
    assert [row["status"] for row in table(tmp_path / "runs/sweeps/both")] == ["done", "failed", "done"], out


def test_several_devices_in_one_process_group_are_refused(train: Train, photos: Path, tmp_path: Path) -> None:
    outcome = train("-m", *tiny(photos, "trainer.devices=2"), "ablation=none,l1_only")
    assert outcome.status == 1
    assert "trainer.devices=2" in outcome.err and "launcher=slurm" in outcome.err
    assert not list(tmp_path.rglob("run.json"))


def test_an_interrupted_study_goes_on(zygote: Zygote, photos: Path) -> None:
    pytest.importorskip("optuna")

    def study(name: str) -> list[str]:
        return [
            "-m",
            *tiny(
                photos,
                *GIN,
                "sweep=optuna",
                f"name={name}",
                "data.batches.samples_per_epoch=4",
                "logging.panel_images=0",
                "net.head=sigmoid",  # whose trials differ enough that some are pruned
            ),
            "stages.gin.epochs=4",
            "logging.checkpoint_every_n_steps=1",
            "hydra.sweeper.trials=6",
            "hydra.sweeper.startup_trials=2",
            "pruning.startup_trials=1",
            "~hydra.sweeper.params",
            "+hydra.sweeper.params={stages.gin.learning_rate: 'tag(log, interval(1e-6, 1e-1))', seed: 'choice(1, 2)'}",
        ]

    def trials(name: str) -> dict[str, list[tuple[Any, ...]]]:
        """States, values, parameters and reports of all trials, as the storage has them."""
        queries = {
            "states": "select number, state from trials order by number",
            "values": "select number, value from trials join trial_values using (trial_id)",
            "parameters": "select number, param_name, param_value from trials join trial_params using (trial_id)",
            "reports": "select number, step, intermediate_value from trials "
            "join trial_intermediate_values using (trial_id)",
        }
        connection = sqlite3.connect(zygote.folder / f"runs/sweeps/{name}/study.db")
        found = {key: sorted(connection.execute(query).fetchall()) for key, query in queries.items()}
        connection.close()
        return found

    status, events = zygote(*study("straight"))
    assert status == 0, zygote.log.read_text()
    straight = trials("straight")
    assert {state for _, state in straight["states"]} == {"COMPLETE", "PRUNED"}

    # Stopped between two reports of a trial, so that the resumed trial gives only the later ones: the events of a trial
    # are a sixth of all, so one of a few of them that lie close together is in between.
    for name, event in ((f"stopped{n}", events * (17 + n) // 30) for n in range(5)):
        status, _ = zygote(*study(name), event=event)
        assert status == -9
        stopped = trials(name)
        number, state = stopped["states"][-1]
        reports = [report for report in stopped["reports"] if report[0] == number]
        if state == "RUNNING" and 0 < len(reports) < 4:
            break
    assert 2 <= number <= 4 and state == "RUNNING" and 0 < len(reports) < 4
    status, _ = zygote(*study(name))
    assert status == 0, zygote.log.read_text()
    assert trials(name) == straight
    assert len(table(zygote.folder / "runs/sweeps" / name)) == 6


def test_a_study_gives_up_trials_that_lag_behind(zygote: Zygote, photos: Path) -> None:
    pytest.importorskip("optuna")
    status, _ = zygote(
        "-m",
        *tiny(photos, *GIN, "sweep=optuna", "name=pruned", "logger=wandb", "stages.gin.epochs=3"),
        "hydra.sweeper.trials=7",
        "pruning.startup_trials=2",
        "~hydra.sweeper.params",
        "+hydra.sweeper.params={seed: 'range(1, 1000)'}",
    )
    assert status == 0, zygote.log.read_text()
    sweep = zygote.folder / "runs/sweeps/pruned"
    connection = sqlite3.connect(sweep / "study.db")
    states = dict(connection.execute("select number, state from trials"))
    values: dict[int, dict[int, float]] = {number: {} for number in states}
    for number, step, value in connection.execute(
        "select number, step, intermediate_value from trial_intermediate_values join trials using (trial_id)"
    ):
        values[number][step] = value
    connection.close()
    assert len(states) == 7 and set(states.values()) == {"COMPLETE", "PRUNED"}

    # given up is a trial whose best is below the median of those that were complete before, after the second epoch
    for number, state in states.items():
        before = [values[other][1] for other in range(number) if states[other] == "COMPLETE"]
        lags = len(before) >= 2 and max(values[number][0], values[number][1]) < statistics.median(before)
        assert (state == "PRUNED") == lags, (number, values)
        assert len(values[number]) == (2 if lags else 3)

    rows = table(sweep)
    assert [row["status"] for row in rows] == [
        {"COMPLETE": "done", "PRUNED": "pruned"}[states[number]] for number in range(7)
    ]
    for row in rows:
        (offline,) = (sweep / row["folder"] / "wandb").glob("offline-run-*")
        run = OfflineRun(offline)
        assert run.exit_code == 0
        assert len(run.logged("gin/val/gradient_si")) == (2 if row["status"] == "pruned" else 3)
