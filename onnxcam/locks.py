"""Locks on open files, so that one process writes at a time. A lock ends with its process."""

from __future__ import annotations

import sys
from typing import IO, Any

__all__ = ["lock", "unlock"]

if sys.platform == "win32":
    import msvcrt

    _FAR = 2**30  # offset of the locked byte, behind the content, which stays readable

    def lock(file: IO[Any]) -> bool:
        """Lock *file* until it is closed; return False if another process holds the lock."""
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(file: IO[Any]) -> None:
        """Unlock *file*."""
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def lock(file: IO[Any]) -> bool:
        """Lock *file* until it is closed; return False if another process holds the lock."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(file: IO[Any]) -> None:
        """Unlock *file*."""
        fcntl.flock(file, fcntl.LOCK_UN)
