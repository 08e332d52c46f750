"""Remove the reflections from many photos by a SLURM job array.

    python experiments/slurm/predict_array.py 64 input=/data/photos output=/data/clean

Submits 64 tasks, each with every 64th photo, and a last job that begins when all have ended: it does what a task that
failed has left, and sums up. A task that SLURM stops at its time limit is queued again and goes on. Needs
``pip install 'crrn[slurm]'``. Set the partition, time and devices of your cluster in ``TASK``.

``--cluster=local`` runs the tasks as processes of this machine instead, ``--cluster=debug`` one after the other.
"""

from __future__ import annotations

import os
import subprocess
import sys

import submitit

LOGS = "predict_array"
"""A folder that all nodes see."""
TASK = {"slurm_partition": "cpu", "timeout_min": 240, "cpus_per_task": 2, "mem_gb": 8}
"""What each task gets; with ``gpus_per_node`` 1 a task uses a GPU."""


class Share(submitit.helpers.Checkpointable):  # type: ignore[misc]  # queued again after its time limit
    """One task: ``crrn predict`` on every ``tasks``-th photo from number ``task`` on; with one task on all photos."""

    def __call__(self, task: int, tasks: int, settings: list[str]) -> None:
        """Raises CalledProcessError where a photo could not be predicted."""
        several = {"RANK": str(task), "WORLD_SIZE": str(tasks)} if tasks > 1 else {}
        command = [sys.executable, "-m", "crrn.cli.predict", *settings]
        subprocess.run(command, env=os.environ | several, check=True)


def main(tasks: int, settings: list[str], cluster: str = "slurm") -> int:
    """Submits all; gives the exit status, which on SLURM says only that it did."""
    executor = submitit.AutoExecutor(folder=LOGS, cluster=cluster)
    limits = TASK if cluster == "slurm" else {"timeout_min": TASK["timeout_min"]}
    executor.update_parameters(name="crrn-predict", **limits)
    shares = executor.map_array(Share(), range(tasks), [tasks] * tasks, [settings] * tasks)
    if cluster == "slurm":
        array = shares[0].job_id.split("_")[0]
        executor.update_parameters(slurm_additional_parameters={"dependency": f"afterany:{array}"})
        last = executor.submit(Share(), 0, 1, settings)
        print(f"array {array} with {tasks} tasks, then job {last.job_id}; their output is in {LOGS}")
        return 0
    for share in shares:
        share.exception()  # waits
    last = executor.submit(Share(), 0, 1, settings)
    failed = last.exception() is not None
    if cluster == "local":
        print(last.stderr(), file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    chosen = [argument.partition("=")[2] for argument in arguments if argument.startswith("--cluster=")]
    count, *others = (argument for argument in arguments if not argument.startswith("--cluster="))
    sys.exit(main(int(count), others, *chosen))
