"""Processes that share one work: which part each does, and how the first one learns what the others did."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from crrn.errors import ConfigError, RunError

Item = TypeVar("Item")

PATIENCE = 1800.0
"""Seconds without a sign of life of any other process, after which the first one gives them up."""
MEETING = timedelta(minutes=30)
"""How long processes wait for each other at the start."""


class Ranks:
    """This process among those that a launcher started for the same work.

    Process r of N does the pieces r, r + N, r + 2 N, ... of a list that all of them make alike. So no two do the same,
    and nothing has to be agreed on. What a dead process left is done by a later start, whatever its N.

    Processes that run at the same time (`together`) meet at torch's key-value store. Each tells there now and then that
    it lives, and at its end what it did. The first process waits for these reports and sums up. It never waits for a
    dead process without an end: ``torchrun`` ends all processes when one fails, and under other launchers the first one
    gives up after `patience`.

    Args:
        rank: the number of this process, from 0.
        world: how many processes there are.
        store: where they meet; None where they do not run at the same time, as the tasks of a job array.
        patience: seconds, see `PATIENCE`.
    """

    def __init__(self, rank: int = 0, world: int = 1, store: Any = None, patience: float = PATIENCE) -> None:
        self.rank = rank
        self.world = world
        self.together = store is not None
        self.patience = patience
        self._store = store
        self._attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._told = 0.0

    @classmethod
    def from_environment(cls) -> Ranks:
        """What RANK and WORLD_SIZE say; with MASTER_ADDR, as ``torchrun`` sets it, the processes meet there.

        Raises:
            ConfigError: one of the variables is missing, no number, or out of range; or the processes do not meet.
        """
        given = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
        if not any(given.values()):
            return cls()
        try:
            rank, world = (int(value or "") for value in given.values())
        except ValueError:
            rank, world = -1, 0
        if not 0 <= rank < world:
            raise ConfigError(
                f"RANK={given['RANK']} and WORLD_SIZE={given['WORLD_SIZE']} name no process: set both, as in RANK=0 "
                "WORLD_SIZE=4, or neither."
            )
        if world == 1 or not os.environ.get("MASTER_ADDR"):
            return cls(rank, world)

        from torch.distributed import rendezvous

        try:
            store, _, _ = next(rendezvous("env://", rank, world, timeout=MEETING))
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigError(
                f"The processes do not meet at MASTER_ADDR={os.environ['MASTER_ADDR']} ({str(error).splitlines()[0]}): "
                "start them by torchrun, or set RANK and WORLD_SIZE alone."
            ) from error
        return cls(rank, world, store)

    @property
    def first(self) -> bool:
        """Whether this process shows progress and sums up."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Those that this process does."""
        return list(items[self.rank :: self.world])

    def tell(self) -> None:
        """Says that this process lives; costs nothing if called often."""
        if self.together and time.monotonic() - self._told > 1:
            self._told = time.monotonic()
            self._store.add(self._key("alive"), 1)

    def finish(self, report: Any) -> list[Any] | None:
        """The reports of all processes, in their order, for the first of them; None for the others, which have handed
        in theirs. Where processes do not run at the same time, each gets its own report alone.

        Args:
            report: plain values, as JSON holds them.

        Raises:
            RunError: the others have been silent for `patience`.
        """
        if not self.together:
            return [report]
        if not self.first:
            self._store.set(self._key(f"report/{self.rank}"), json.dumps(report))
            return None
        waiting = [rank for rank in range(1, self.world) if not self._reported(rank)]
        if waiting:
            print(f"waiting for {len(waiting)} of {self.world} processes", file=sys.stderr, flush=True)
        sign, since = -1, time.monotonic()
        while waiting:
            seen = self._store.add(self._key("alive"), 0)
            left = [rank for rank in waiting if not self._reported(rank)]
            if seen != sign or left != waiting:
                sign, since = seen, time.monotonic()
            elif time.monotonic() - since > self.patience:
                raise RunError(
                    f"Of the processes {', '.join(map(str, left))} nothing was heard for {self.patience / 60:.0f} "
                    "minutes: end them if they still run; the same command does what they left."
                )
            waiting = left
            time.sleep(0.1 if waiting else 0)
        return [report, *(json.loads(self._store.get(self._key(f"report/{r}"))) for r in range(1, self.world))]

    def _reported(self, rank: int) -> bool:
        return bool(self._store.check([self._key(f"report/{rank}")]))

    def _key(self, name: str) -> str:
        return f"crrn/{self._attempt}/{name}"


def processes_here() -> int:
    """How many processes share this machine, as ``torchrun`` says."""
    given = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, int(given)) if given.isdigit() else 1
