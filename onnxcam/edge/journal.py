"""Pairs on disk, a line of JSON each, appended as they come: what was done outlives a kill, and memory holds none.

The first line says what is compared, each other line is one picture's `Pair`, under its number in the list of pictures.
Lines are synced to the disk in batches. A kill in the middle of a line leaves half a line at the end, which is dropped
when the journal is opened again; its picture is done once more. One run at a time writes: the file is locked until the
run ends, however it ends.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import time
import weakref
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, overload

import numpy as np

from onnxcam.edge.comparison import Kept, Pair
from onnxcam.errors import OutputError

SCHEMA = 1
SYNC = 1.0  # seconds between two syncs to the disk


class Journal(Sequence[Pair]):
    """The pairs of one validation, in the order of its pictures; each is read from disk when it is asked for.

    Args:
        path: The file; begun where there is none, taken up where there is one. None: a file that goes with the object.
        identity: What is compared, by name: all that must be the same for pairs to belong together.
        overwrite: Whether what is in the file makes way.

    Raises:
        OutputError: the file is a journal of something else (the message says what differs), another run writes it, or
            it cannot be written.

    Example:
        >>> journal = Journal("out/journal.jsonl", {"reference": "float.onnx", "candidate": "int8.onnx"})
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, identity: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.path = None if path is None else Path(path)
        self._places: dict[int, int] = {}  # where the line of each picture begins
        self._order: list[int] | None = None
        self._file: IO[bytes]
        try:
            self._file = tempfile.TemporaryFile("w+b") if path is None else open(path, "a+b")  # noqa: SIM115
            weakref.finalize(self, self._file.close)
            if not _lock(self._file):
                raise OutputError(f"another run writes '{path}'; wait until it ends, or choose another folder with -o")
            if overwrite:
                self._file.truncate(0)
            self._take_up(json.loads(json.dumps(identity)))
        except OSError as error:
            raise OutputError(f"the journal '{path}' cannot be written: {error.strerror}; choose another -o") from None
        self._synced = time.monotonic()

    def _take_up(self, identity: dict[str, Any]) -> None:
        """Read which pictures are done; begin the file where it is new, and drop half a line at its end."""
        self._file.seek(0)
        place = end = 0
        for number, line in enumerate(self._file):
            place, end = end, end + len(line)
            entry = _parsed(line)
            if entry is None:
                if number == 0 and line.endswith(b"\n"):
                    raise OutputError(f"'{self.path}' is no journal of a validation; choose another folder with -o")
                end = place
                break
            if number == 0:
                _check(entry, identity, self.path)
            else:
                self._places.setdefault(entry["number"], place)
        self._file.truncate(end)
        if end == 0:
            self._write({"onnxcam.validation": SCHEMA, **identity})
            self.sync()

    @property
    def done(self) -> Collection[int]:
        """The numbers of the pictures that have a pair."""
        return self._places.keys()

    def add(self, number: int, pair: Pair) -> None:
        """Append the *pair* of picture *number*: at once it outlives the process, after the next `sync` the machine."""
        place = self._write({"number": number, **_written(pair)})
        self._places.setdefault(number, place)
        self._order = None
        if time.monotonic() - self._synced > SYNC:
            self.sync()

    def _write(self, entry: Mapping[str, Any]) -> int:
        place = self._file.seek(0, os.SEEK_END)
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
        self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")  # a name that is no UTF-8: JSON's own \udce9
        self._file.flush()
        return place

    def sync(self) -> None:
        """Have all lines on the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def release(self) -> None:
        """Sync, and let other runs write the file; its pairs can still be read."""
        self.sync()
        _unlock(self._file)

    def close(self) -> None:
        """Sync and close the file."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if self._order is None:
            self._order = sorted(self._places)
        if isinstance(index, slice):
            return [self._read(number) for number in self._order[index]]
        return self._read(self._order[index])

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def _read(self, number: int) -> Pair:
        self._file.seek(self._places[number])
        return _read(json.loads(self._file.readline()))


if sys.platform == "win32":
    import msvcrt

    _FAR = 2**30  # of the byte that is locked: what is written stays readable

    def _lock(file: IO[bytes]) -> bool:
        """Keep other processes from locking *file* until it is closed; False where another did."""
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        """Keep others from locking *file* until it is closed; False where another did."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _check(found: dict[str, Any], identity: dict[str, Any], path: Path | None) -> None:
    """OutputError naming what differs between two validations."""
    if found.pop("onnxcam.validation", None) != SCHEMA:
        raise OutputError(f"'{path}' is no journal of a validation; choose another folder with -o")
    differing = [name for name in {**found, **identity} if found.get(name) != identity.get(name)]
    if differing:
        what = "; ".join(f"{name} was {found.get(name)!r} and is {identity.get(name)!r}" for name in differing)
        raise OutputError(
            f"'{path}' is the journal of another validation: {what}; choose another folder with -o, or --overwrite it"
        )


def _written(pair: Pair) -> dict[str, Any]:
    plain = {name: getattr(pair, name) for name in Pair.__dataclass_fields__ if name != "maps"}
    return {**plain, "maps": [_packed(heat) for heat in pair.maps]}


def _read(entry: dict[str, Any]) -> Pair:
    maps = tuple(_unpacked(heat) for heat in entry.pop("maps"))
    del entry["number"]
    lists = {name: tuple(value) for name, value in entry.items() if isinstance(value, list)}
    return Pair(**{**entry, **lists}, maps=maps)  # type: ignore[arg-type]


def _packed(heat: Kept) -> dict[str, Any] | None:
    """Return a map in 255 steps, compressed."""
    if heat is None:
        return None
    steps = np.round(255 * heat.astype(np.float32)).astype(np.uint8)
    return {"shape": heat.shape, "zlib": base64.b64encode(zlib.compress(steps.tobytes(), 1)).decode()}


def _unpacked(packed: dict[str, Any] | None) -> Kept:
    if packed is None:
        return None
    steps = np.frombuffer(zlib.decompress(base64.b64decode(packed["zlib"])), np.uint8).reshape(packed["shape"])
    return (steps / np.float32(255)).astype(np.float16)
