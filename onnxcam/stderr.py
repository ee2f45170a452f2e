"""Suppress messages that C libraries print to stderr."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

__all__ = ["silence"]

_lock = Lock()
_inside = 0
_kept: int | None = None
_level = 0


@contextmanager
def silence() -> Iterator[None]:
    """Discard messages of C libraries on ``stderr``, and OpenCV's log. Output of Python still appears.

    libpng and libjpeg report damaged images there, and OpenCV has no option against it. This swaps the C variable
    ``stderr``, not the file descriptor, which Python uses too. On other C libraries, nothing is discarded.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _kept, _level
    import cv2

    with _lock:
        _inside += 1
        if _inside > 1:
            return
        _level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        if (found := _streams()) is not None:
            stream, nowhere = found
            _kept, stream.value = stream.value, nowhere


def _leave() -> None:
    global _inside
    import cv2

    with _lock:
        _inside -= 1
        if _inside:
            return
        cv2.utils.logging.setLogLevel(_level)
        if (found := _streams()) is not None:
            found[0].value = _kept


@cache
def _streams() -> tuple[ctypes.c_void_p, int] | None:
    """Return the C variable ``stderr``, and a stream to /dev/null; None if the variable cannot be set."""
    name = {"linux": "stderr", "darwin": "__stderrp"}.get(sys.platform)
    if name is None:
        return None
    libc = ctypes.CDLL(None)
    if name == "stderr" and not hasattr(libc, "gnu_get_libc_version"):  # a constant in other C libraries
        return None
    libc.fopen.restype = ctypes.c_void_p
    nowhere = libc.fopen(b"/dev/null", b"we")
    return (ctypes.c_void_p.in_dll(libc, name), nowhere) if nowhere else None
