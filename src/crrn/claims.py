"""Claims: two processes never write to the same place at the same time."""

from __future__ import annotations

import errno
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from crrn.errors import RunError

WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
"""What the system says where a file system has no locks."""


def claim(file: Path, busy: str) -> BaseFileLock:
    """Claim a lock file for this process, until the claim is released or the process ends in whatever way.

    Processes forked from this one do not hold the claim. A process may claim a file several times; it is free after as
    many releases. On a file system without locks nothing is claimed.

    Args:
        file: the lock file, which is made if it is not there. It may be removed while it is claimed.
        busy: the message where another process holds the claim.

    Returns:
        The claim, with the method ``release()``.

    Raises:
        RunError: another process holds the claim.
        OSError: the file cannot be made.
    """
    lock = FileLock(file, thread_local=False, is_singleton=True, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise RunError(busy) from error
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    return lock
