"""The loader of batches: errors arrive as sentences, and without worker processes a thread works ahead."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import cv2
from torch.utils.data import DataLoader

from crrn.data.batch import Batch
from crrn.errors import DataError
from crrn.private import stop_workers

Item = TypeVar("Item")


class BatchLoader(DataLoader[Any]):
    """A DataLoader that raises, in the main process, the DataError that a worker gave back.

    Without worker processes a thread makes the next two batches while the present one is worked on: decoding and
    resizing let other threads run. The batches and their order are the same.

    Attributes:
        waited: seconds for which the loader has kept its user waiting so far.
    """

    waited = 0.0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        source = super().__iter__()
        batches = source if self.num_workers else ahead(source)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            if isinstance(batch, DataError):
                stop_workers(self)
                raise batch
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the sampler's ``start`` knows where to go on. The method tells Lightning that the loader can."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The other half of the protocol."""


def ahead(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """The same items in the same order; a thread takes up to ``depth`` from ``items`` before they are asked for.

    Whoever leaves early waits for the thread, unless it is the thread itself, in which garbage may be collected.
    """
    nothing = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="photos")
    thread = pool.submit(threading.get_ident).result()
    try:
        coming = deque(pool.submit(next, items, nothing) for _ in range(depth))
        while (item := coming.popleft().result()) is not nothing:
            coming.append(pool.submit(next, items, nothing))
            yield cast(Item, item)
    finally:
        pool.shutdown(wait=threading.get_ident() != thread, cancel_futures=True)


def quiet_worker(worker: int) -> None:
    """Keep OpenCV from starting threads in each of the worker processes."""
    cv2.setNumThreads(0)
