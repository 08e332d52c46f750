"""The progress of a long command: a bar in a terminal, otherwise a line every `SECONDS`."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS = 20
"""Between two lines where there is no terminal."""


class ProgressDisplay:
    """Called as ``progress(what, done, of)``. ``what`` names a part of the work; each part has its own bar.

    Args:
        shown: False for all but one of several processes that share a terminal.
    """

    def __init__(self, shown: bool = True) -> None:
        self.shown = shown
        self.terminal = sys.stderr.isatty() and shown
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.bars = Progress(*columns, console=Console(stderr=True), disable=not self.terminal)
        self.tasks: dict[str, object] = {}
        self.began: dict[str, tuple[float, float]] = {}
        self.ended: set[str] = set()
        self.last = 0.0

    def __enter__(self) -> ProgressDisplay:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def __call__(self, what: str, done: float, of: int) -> None:
        if not self.shown:
            return
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(what, total=of)
            self.began[what] = (time.monotonic(), done)
        self.bars.update(self.tasks[what], completed=done)  # type: ignore[arg-type]
        if done < of:
            self.ended.discard(what)
        elif what in self.ended:  # counted in megabytes, many calls say that all is done
            return
        else:
            self.ended.add(what)
        if not self.terminal and (done >= of or time.monotonic() - self.last > SECONDS):
            self.last = time.monotonic()
            within = f" ({done / of:.0%})" if done % 1 else ""
            print(f"{what}: {int(done)}/{of}{within}{self._left(what, done, of)}", file=sys.stderr, flush=True)

    def _left(self, what: str, done: float, of: int) -> str:
        """The time left, if what was done since the first call goes on as fast."""
        start, first = self.began[what]
        if not first < done < of:
            return ""
        seconds = (time.monotonic() - start) * (of - done) / (done - first)
        return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"
