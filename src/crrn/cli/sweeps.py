"""Sweeps: many jobs started by one command, and the table of their results. Imports no torch."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from crrn.errors import ConfigError, CrrnError
from crrn.files import write_atomically

RECORD = "job.json"
FIRST_COLUMNS = ("job", "status")
LAST_COLUMNS = ("seconds", "folder", "error")
HEADLINES = (
    *("val/background_ssim", "val/background_si", "val/background_psnr", "val/gradient_si"),
    *("val/matched_gain_psnr", "val/harm_rate", "pairs/gain_psnr", "pairs/matched_gain_psnr", "pairs/harm_rate"),
)
"""The metrics that the table on screen shows; the CSV file has all."""


class SweepCallback(Callback):
    """Hydra's hooks: checks the sweep before its first job, and prints the table after the last."""

    failed = 0
    """Failed jobs of the sweeps that this process ran."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._check(config, Path(str(config.hydra.run.dir)))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.started = time.time()
        self._check(config, Path(str(config.hydra.sweep.dir)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(str(config.hydra.sweep.dir))
        rows = write_table(folder)
        type(self).failed = sum(row["status"] == "failed" and row["finished"] >= self.started for row in rows)
        show_table(rows, folder)

    @staticmethod
    def _check(config: DictConfig, folder: Path) -> None:
        try:
            if config.resume not in (None, "auto") and not Path(str(config.resume)).exists():
                raise ConfigError(
                    f"resume={config.resume} does not exist; give a run directory such as runs/NAME, or a checkpoint "
                    "in it such as runs/NAME/joint/last.ckpt."
                )
            if config.hydra.mode.name == "MULTIRUN":
                refuse_shared_processes(config.trainer, config.hydra.launcher)
            check_writable(folder)
        except CrrnError as error:
            # Hydra turns exceptions of callbacks into warnings, but lets an exit pass.
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error


def refuse_shared_processes(trainer: DictConfig, launcher: DictConfig) -> None:
    """Refuses a sweep whose jobs train on several devices in processes that Lightning starts.

    Lightning starts them by repeating the whole command. Each process would run the whole sweep again, and the devices
    would train different jobs together.

    Raises:
        ConfigError: the settings ask for such a sweep; the message says what to set instead.
    """
    isolated = "SlurmLauncher" in str(launcher.get("_target_"))
    spawned = any(word in str(trainer.get("strategy")) for word in ("spawn", "fork", "notebook"))
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes", 1)
    single = str(devices) in ("1", "[0]") or (not isinstance(devices, int | str) and len(devices) == 1)
    if os.environ.get("WORLD_SIZE", "1") != "1" or not ((single and nodes == 1) or isolated or spawned):
        raise ConfigError(
            f"A sweep cannot train each job on several devices (trainer.devices={devices}, trainer.num_nodes={nodes}) "
            "in one process group: give each job its own processes by launcher=slurm or trainer.strategy=ddp_spawn, or "
            "one device by trainer.devices=1."
        )


def check_writable(folder: Path) -> None:
    """Makes the folder.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK)
        why = "Permission denied"
    except OSError as error:
        usable, why = False, str(error.strerror)
    if not usable:
        raise ConfigError(f"Cannot write into {folder}: {why}; choose a writable place with run_root=DIR.")


def record_job(
    folder: Path,
    sweep: Path,
    number: int,
    overrides: list[str],
    status: str,
    seconds: float,
    metrics: Mapping[str, float],
    error: str = "",
) -> None:
    """Records the job's result in its folder and rewrites the sweep's table. A finished job that a resumed
    sweep only looked at keeps the time that it took.
    """
    path = folder / RECORD
    before = json.loads(path.read_text()) if path.exists() else {}
    if before.get("status") == status == "done":
        seconds = max(seconds, before["seconds"])
    record = {
        "job": number,
        "status": status,
        "overrides": {
            key: value
            for key, _, value in (override.lstrip("+~").partition("=") for override in overrides)
            if key != "pruning.trial"
        },
        "metrics": dict(metrics),
        "seconds": round(seconds, 1),
        "finished": time.time(),
        "error": error,
    }
    with write_atomically(path, "w") as file:
        json.dump(record, file, indent=2)
    write_table(sweep)


def write_table(sweep: Path) -> list[dict[str, Any]]:
    """Writes ``sweep.csv`` and ``sweep.md`` from all jobs that have ended; gives the jobs' records, in their order."""
    records = []
    for path in sweep.glob(f"*/{RECORD}"):
        records.append({**json.loads(path.read_text()), "folder": path.parent.name})
    records.sort(key=lambda record: (record["job"], record["folder"]))
    if not records:
        return []
    keys = list(dict.fromkeys(key for record in records for key in record["overrides"]))
    varied = [key for key in keys if len({record["overrides"].get(key) for record in records}) > 1]
    metrics = list(dict.fromkeys(name for record in records for name in record["metrics"]))
    with write_atomically(sweep / "sweep.csv", "w") as file:
        writer = csv.DictWriter(file, [*FIRST_COLUMNS, *keys, *metrics, *LAST_COLUMNS], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**record, **record["overrides"], **record["metrics"]} for record in records)
    head, rows = cells(records, varied or keys)
    lines = [f"# Sweep {sweep.name}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    with write_atomically(sweep / "sweep.md", "w") as file:
        file.write("\n".join(lines) + "\n")
    return records


def cells(records: list[dict[str, Any]], keys: list[str]) -> tuple[list[str], list[list[str]]]:
    """The readable table: its head, and a row for each job."""
    shown = [name for name in HEADLINES if any(name in record["metrics"] for record in records)]
    head = ["job", "status", *keys, *(name.removeprefix("val/") for name in shown), "minutes", "error"]
    rows = [
        [
            str(record["job"]),
            record["status"],
            *(readable(record["overrides"].get(key, "")) for key in keys),
            *(f"{record['metrics'][name]:.4f}" if name in record["metrics"] else "" for name in shown),
            f"{record['seconds'] / 60:.1f}",
            " ".join(record["error"].split()),
        ]
        for record in records
    ]
    return head, rows


def readable(value: str) -> str:
    """Numbers with four digits; the CSV file has them all."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def show_table(records: list[dict[str, Any]], sweep: Path) -> None:
    """Prints the table of all jobs, with what differs between them."""
    from rich.table import Table

    from crrn.screen import console

    keys = list(dict.fromkeys(key for record in records for key in record["overrides"]))
    varied = [key for key in keys if len({record["overrides"].get(key) for record in records}) > 1]
    head, rows = cells(records, varied)
    table = Table(title=f"Sweep {sweep}")
    for label in head:
        table.add_column(label)
    for row in rows:
        table.add_row(*row)
    screen = console()
    screen.print(table)
    screen.print(f"All columns: {sweep / 'sweep.csv'}")
