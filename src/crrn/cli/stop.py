"""Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stoppable(says: str) -> Iterator[None]:
    """Ctrl-C within ends the command with one line, which says how to go on, and status 130."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped: {says}", file=sys.stderr)
        sys.exit(130)
