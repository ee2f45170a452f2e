"""A Python process that works for this one: frames on its standard input and output, time limits, and how it ended.

A frame is a letter, a length and the data. The process runs a module of onnxcam, which calls `serving` first. What its
libraries print goes to standard error.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import BinaryIO, TypeAlias, cast

__all__ = ["ChildProcess", "PipeFrame", "read_frame", "serving", "write_frame"]

PipeFrame: TypeAlias = "tuple[bytes, bytes]"
"""A letter and the data."""

_HEAD = struct.Struct("<cQ")


def write_frame(file: BinaryIO, kind: bytes, data: bytes) -> None:
    """Write one frame."""
    file.write(_HEAD.pack(kind, len(data)) + data)
    file.flush()


def read_frame(file: BinaryIO) -> PipeFrame | None:
    """Return the kind and the data of the next frame; None at the end of the file."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack(head)
    data = file.read(length)
    return (kind, data) if len(data) == length else None


def serving() -> tuple[BinaryIO, BinaryIO]:
    """In the process: return the files of its frames, in and out. From now on, prints go to standard error."""
    given, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return given, answers


class ChildProcess:
    """A process that runs a module of onnxcam.

    Args:
        module: The module, which is run as ``python -m``.
        words: Its arguments.
        environment: Further environment variables.
    """

    def __init__(self, module: str, *words: str, environment: Mapping[str, str] | None = None) -> None:
        roots = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(roots)},
        )
        self._frames: SimpleQueue[PipeFrame | None] = SimpleQueue()
        pipe = cast(BinaryIO, self._process.stdout)
        reader = Thread(target=_read_all, args=(pipe, self._frames), daemon=True)
        reader.start()
        self._stop = weakref.finalize(self, _stop, self._process, reader)

    def send(self, kind: bytes, data: bytes) -> bool:
        """Send a frame; return whether the process still reads."""
        try:
            write_frame(cast(BinaryIO, self._process.stdin), kind, data)
        except (OSError, ValueError):  # it has ended, or was closed
            return False
        return True

    def receive(self, seconds: float | None = None) -> PipeFrame | None:
        """Return the next frame; None where the process has ended. TimeoutError after *seconds*."""
        try:
            return self._frames.get(timeout=seconds)
        except Empty:
            raise TimeoutError from None

    def close(self) -> None:
        """Stop the process."""
        self._stop()

    def ending(self) -> str:
        """Stop the process, and return how it ended: ``"signal 11"``, ``"exit code 1"``."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS)
        self.close()
        code = self._process.returncode
        return f"signal {-code}" if code < 0 else f"exit code {code}"


_SECONDS = 10.0
"""Time for a process whose output ended to end itself."""


def _read_all(pipe: BinaryIO, frames: SimpleQueue[PipeFrame | None]) -> None:
    with pipe:
        while (frame := read_frame(pipe)) is not None:
            frames.put(frame)
    frames.put(None)


def _stop(process: subprocess.Popen[bytes], reader: Thread) -> None:
    process.kill()
    process.wait()
    with suppress(OSError):  # what was written is not read any more
        cast(BinaryIO, process.stdin).close()
    reader.join()
