#!/usr/bin/env python3
"""A stand-in for SLURM's sbatch, srun, sacct and scancel on this machine: called by one of these names, it does what
the command of that name does with a job array of submitit's, one array task after the other.

Each task of srun gets the environment variables by which SLURM tells a process its place.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path


def sbatch(script: Path) -> int:
    """Prints the job's id, and runs the array when this has ended: submitit writes what it runs only then."""
    copy = Path(__file__).with_name("job.sh")  # submitit moves the script when it has the job's id
    shutil.copy(script, copy)
    subprocess.Popen(
        [sys.executable, __file__, "--run", str(copy)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    print(f"Submitted batch job {os.environ['FAKE_SLURM_JOB_ID']}")
    return 0


def run_array(script: Path) -> int:
    """Runs the array's tasks one after the other."""
    text = script.read_text()
    job = int(os.environ["FAKE_SLURM_JOB_ID"])
    tasks = int(flag(text, "ntasks-per-node", "1"))
    first, last = map(int, re.fullmatch(r"(\d+)-(\d+)(?:%\d+)?", flag(text, "array", "0-0")).groups())  # type: ignore[union-attr]
    for index in range(first, last + 1):
        environment = {
            **os.environ,
            "SLURM_JOB_ID": str(job + index),
            "SLURM_ARRAY_JOB_ID": str(job),
            "SLURM_ARRAY_TASK_ID": str(index),
            "SLURM_JOB_NAME": flag(text, "job-name", "job"),
            "SLURM_NTASKS": str(tasks),
            "SLURM_NTASKS_PER_NODE": str(tasks),
            "SLURM_NNODES": flag(text, "nodes", "1"),
            "SLURM_JOB_NUM_NODES": flag(text, "nodes", "1"),
            "SLURM_NODELIST": "localhost",
            "SLURM_JOB_NODELIST": "localhost",
        }
        subprocess.run(["bash", str(script)], env=environment, check=False)
    return 0


def srun(arguments: list[str]) -> int:
    """Starts the command once for each task, with its output where --output and --error say."""
    outputs = {}
    while arguments[0].startswith("--"):
        name = arguments.pop(0)
        if name in ("--output", "--error"):
            outputs[name] = arguments.pop(0)
    processes = []
    for task in range(int(os.environ["SLURM_NTASKS"])):
        places = {
            "%A": os.environ["SLURM_ARRAY_JOB_ID"],
            "%a": os.environ["SLURM_ARRAY_TASK_ID"],
            "%j": os.environ["SLURM_JOB_ID"],
            "%t": str(task),
        }
        files = [Path(replaced(path, places)) for path in outputs.values()]
        environment = {**os.environ, "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task), "SLURM_NODEID": "0"}
        with files[0].open("a") as out, files[1].open("a") as err:
            processes.append(subprocess.Popen(arguments, stdout=out, stderr=err, env=environment))
    return max(process.wait() for process in processes)


def replaced(path: str, places: dict[str, str]) -> str:
    for pattern, value in places.items():
        path = path.replace(pattern, value)
    return path


def flag(script: str, name: str, default: str) -> str:
    """A flag of the script's #SBATCH lines."""
    found = re.search(rf"^#SBATCH --{name}=(.*)$", script, re.MULTILINE)
    return found[1].strip("'\"") if found else default


def main() -> int:
    if sys.argv[1] == "--run":
        return run_array(Path(sys.argv[2]))
    name = Path(sys.argv[0]).name
    if name == "sbatch":
        return sbatch(Path(sys.argv[-1]))
    if name == "srun":
        return srun(sys.argv[1:])
    print("JobID|State|NodeList")  # sacct: nothing is known yet, and submitit looks at the jobs' results
    return 0


if __name__ == "__main__":
    sys.exit(main())
