"""A process that has imported everything once and forks a real run for each line that it reads.

A run that starts in a tenth of a second can be killed dozens of times in one test. Each is a process of its own,
running the real command; it dies by SIGKILL, from outside after some seconds or, at an exact moment, before the n-th
event of these: a file of the run is opened for writing, renamed or removed; a training or validation step begins.

Reads lines of JSON {"arguments": [...], "log": PATH, "event": N or null, "seconds": S or null} and answers each with
the run's exit status (-9 where it was killed) and the number of events.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
from typing import Any

EVENTS = ("open", "os.rename", "os.remove", "crrn.step")


def main() -> None:
    import wandb  # noqa: F401

    import crrn.cli.train
    import crrn.data.augment  # noqa: F401
    from crrn.training.stage_training import StageTraining

    for name in ("training_step", "validation_step"):
        announce(StageTraining, name)
    counter = mmap.mmap(-1, 8)
    for line in sys.stdin:
        order = json.loads(line)
        counter[:] = bytes(8)
        child = os.fork()
        if child == 0:
            run(order, counter)
        status = wait(child, order["seconds"])
        print(json.dumps({"status": status, "events": int.from_bytes(counter[:], "little")}), flush=True)


def announce(cls: type, name: str) -> None:
    """Makes each call of a method an audit event."""
    method = getattr(cls, name)

    def announced(*args: Any, **kwargs: Any) -> Any:
        sys.audit("crrn.step", name)
        return method(*args, **kwargs)

    setattr(cls, name, announced)


def run(order: dict[str, Any], counter: mmap.mmap) -> None:
    """The child: never returns."""
    import crrn.cli.train

    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    events = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal events
        if event not in EVENTS:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if event != "crrn.step" and "runs/" not in str(arguments[0]):
            return
        if events == order["event"]:
            os.kill(os.getpid(), signal.SIGKILL)
        events += 1
        counter[:] = events.to_bytes(8, "little")

    sys.addaudithook(hook)
    sys.argv = ["crrn-train", *order["arguments"]]
    status = 1
    try:
        crrn.cli.train.main()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(child: int, seconds: float | None) -> int:
    """The child's exit status; kills it when its time is over."""
    end = time.monotonic() + (seconds if seconds is not None else 600)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            end += 60
        time.sleep(0.002)


if __name__ == "__main__":
    main()
