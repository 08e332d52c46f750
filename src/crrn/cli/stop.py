"""Stopping a command by Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stoppable(says: str) -> Iterator[None]:
    """Within this context, Ctrl-C ends the command with status 130 and one line that says how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped: {says}", file=sys.stderr)
        sys.exit(130)
