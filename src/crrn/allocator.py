"""Keeps freed memory in the process."""

from __future__ import annotations

import ctypes
import sys

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
