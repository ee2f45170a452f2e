"""Locks on open files: one process writes; a lock goes with its process, however that ends."""

from __future__ import annotations

import sys
from typing import IO, Any

if sys.platform == "win32":
    import msvcrt

    _FAR = 2**30  # of the byte that is locked: what is written stays readable

    def lock(file: IO[Any]) -> bool:
        """Keep other processes from locking *file* until it is closed; False where another did."""
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(file: IO[Any]) -> None:
        """Let others lock *file*."""
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def lock(file: IO[Any]) -> bool:
        """Keep others from locking *file* until it is closed; False where another did."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(file: IO[Any]) -> None:
        """Let others lock *file*."""
        fcntl.flock(file, fcntl.LOCK_UN)
