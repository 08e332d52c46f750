"""The memory of the process: what is freed is kept, and how much it held at most."""

from __future__ import annotations

import ctypes
import math
import sys
from contextlib import suppress
from pathlib import Path

KEEP = 1 << 30
"""Bytes of freed memory that are kept, and the size up to which blocks come from what is kept."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Lets the process keep the memory of freed tensors for the next ones, instead of giving it back at once.

    By default the C library of Linux gives large blocks back to the system when they are freed; the next tensor then
    gets fresh pages, which the system fills with zeros as they are first touched. On a CPU that takes several times
    as long as adding two tensors. A process that does the same work again and again, as training does, needs the
    memory again anyway: its peak stays.

    Returns:
        Whether the C library could be told; elsewhere than on Linux with glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, KEEP) and mallopt(_M_TRIM_THRESHOLD, KEEP))


def give_back_freed_memory() -> None:
    """Gives the memory of freed tensors back to the system, where `keep_freed_memory` let the process keep it."""
    if sys.platform.startswith("linux"):
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def peak_memory() -> float:
    """The most memory that this process held at one time so far, in bytes (resident, all libraries included).

    NaN on Windows, whose system calls are not asked.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        try:
            import resource
        except ModuleNotFoundError:
            return math.nan
        # kilobytes on Linux, bytes on a Mac
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def reset_peak_memory() -> float:
    """Starts `peak_memory` anew where the system allows it, and gives what the process holds now, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    return peak_memory()
