"""Work on many files at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 64
"""Items that are begun before the first is asked for; memory does not grow with their number."""


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The function's results in the items' order. Whoever leaves early, by Ctrl-C or an error, waits for nothing that
    was not begun."""
    pool = ThreadPoolExecutor()
    try:
        waiting = iter(items)
        queue: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(waiting, AHEAD))
        while queue:
            result = queue.popleft().result()
            queue.extend(pool.submit(function, item) for item in islice(waiting, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
