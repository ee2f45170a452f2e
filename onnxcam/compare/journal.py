"""Pairs on disk, a line of JSON each, appended as they come: what was done outlives a kill, and memory holds none.

The first line says what is compared, each other line is one picture's `Pair`, under its number in the list of pictures.
A line ends in its checksum, `onnxcam.compare.device_runner.line_of`, which the first line is part of. A kill in the
middle of a line leaves half a line at the end, which is dropped when the journal is opened again; its picture is done
once more. So is that of a damaged line, which becomes blank. Lines are synced to the disk in batches. One run at a time
writes: the file is locked until the run ends, however it ends.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
import weakref
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from onnxcam.compare import journal_entries as entries
from onnxcam.compare.device_runner import CRC, entry_of, line_of
from onnxcam.compare.pairs import Pair
from onnxcam.errors import OutputError
from onnxcam.locks import lock, unlock

SCHEMA = 2
SYNC = 1.0  # seconds between two syncs to the disk
T = TypeVar("T")

_KEY = "onnxcam.validation"
_BEGIN = b'{"onnxcam.validation": '
_ANEW = "choose another folder with -o, or --overwrite it"


class Journal(Sequence[Pair]):
    """The pairs of one validation, in the order of its pictures; each is read from disk when it is asked for.

    Args:
        path: The file; begun where there is none, taken up where there is one. None: a file that goes with the object.
        identity: What is compared, by name: all that must be the same for pairs to belong together.
        overwrite: Whether what is in the file makes way.
        names: The pictures: a line that names another one under its number is damaged. None: unknown.

    Attributes:
        damaged: A warning of each line that was damaged.

    Raises:
        OutputError: the file is a journal of something else (the message says what differs), its first line is damaged,
            another run writes it, or it cannot be written.

    Example:
        >>> journal = Journal("out/journal.jsonl", {"reference": "float.onnx", "candidate": "int8.onnx"})
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        identity: Mapping[str, Any],
        *,
        overwrite: bool = False,
        names: Sequence[str] | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.damaged: list[str] = []
        self._names = names
        self._places: dict[int, tuple[int, int]] = {}  # where the line of each picture begins, and its length
        self._order: list[int] | None = None
        self._seed = self._end = 0
        self._file = self._on_disk(lambda: _opened(path))
        weakref.finalize(self, self._file.close)
        try:
            if not lock(self._file):
                raise OutputError(f"another run writes '{path}'; wait until it ends, or choose another folder with -o")
            self._on_disk(lambda: self._take_up(json.loads(json.dumps({_KEY: SCHEMA, **identity})), overwrite))
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def _on_disk(self, act: Callable[[], T]) -> T:
        """Return what *act* returns; OutputError where the disk fails."""
        try:
            return act()
        except OSError as error:
            raise OutputError(
                f"the journal '{self.path}' cannot be written: {error.strerror}; choose another -o"
            ) from None

    def _take_up(self, header: dict[str, Any], overwrite: bool) -> None:
        """Read which pictures are done; begin the file where it is new, and drop half a line at its end."""
        if overwrite:
            self._file.truncate(0)
        self._file.seek(0)
        lines = io.BufferedReader(self._file)
        taken = [self._take(number, line, header) for number, line in enumerate(lines, 1)]
        lines.detach()
        self._file.truncate(self._end)
        for place, length in filter(None, taken):
            self._put(b" " * (length - 1), place)
        if self._end == 0:
            first = line_of(header)
            self._seed = zlib.crc32(first)
            self._append(first)
        self._sync()

    def _take(self, number: int, line: bytes, header: dict[str, Any]) -> tuple[int, int] | None:
        """Take in one line of the file; return where it stands if it is damaged."""
        place = self._end, len(line)
        if not line.endswith(b"\n") and (number > 1 or _is_half(line)):
            return None
        self._end += len(line)
        if number == 1:
            self._seed = _seed_of(line, header, self.path)
            return None
        if not line.strip(b" \n"):
            return None
        try:
            self._places.setdefault(self._parsed(line)[0], place)
        except ValueError:
            self.damaged.append(f"'{self.path}': line {number} is damaged; its picture is done again")
            return place
        return None

    def _parsed(self, line: bytes) -> tuple[int, Pair]:
        """Return the number and the pair that a line says; ValueError where it is damaged."""
        entry = entry_of(line, self._seed)
        number, pair = entry.get("number"), entries.read(entry)
        if not isinstance(number, int) or number < 0:
            raise ValueError("no number")
        if self._names is not None and (number >= len(self._names) or self._names[number] != pair.picture):
            raise ValueError("the number of another picture")
        return number, pair

    @property
    def done(self) -> Collection[int]:
        """The numbers of the pictures that have a pair."""
        return self._places.keys()

    def add(self, number: int, pair: Pair) -> None:
        """Append the *pair* of picture *number*: at once it outlives the process, after the next `sync` the machine."""
        line = line_of({"number": number, **entries.written(pair)}, self._seed)
        place = self._on_disk(lambda: self._append(line))
        self._places.setdefault(number, (place, len(line)))
        self._order = None
        if time.monotonic() - self._synced > SYNC:
            self.sync()

    def _append(self, line: bytes) -> int:
        """Write *line* behind what is whole in the file, and return where; half of it is no part of the file."""
        place = self._end
        self._put(line, place)
        self._end += len(line)
        return place

    def _put(self, data: bytes, place: int) -> None:
        self._file.seek(place)
        while data:
            data = data[self._file.write(data) :]

    def sync(self) -> None:
        """Have all lines on the disk."""
        self._on_disk(self._sync)

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def release(self) -> None:
        """Sync, and let other runs write the file; its pairs can still be read."""
        self.sync()
        unlock(self._file)

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
        place, length = self._places[number]
        try:
            self._file.seek(place)
            return self._parsed(self._file.read(length))[1]
        except (OSError, ValueError):
            raise OutputError(f"'{self.path}' was changed while it was used; run the same command again") from None


def _opened(path: str | os.PathLike[str] | None) -> io.FileIO:
    """Return the file, which is made where it is not there, without a buffer: what is written is written."""
    if path is None:
        return tempfile.TemporaryFile("w+b", buffering=0)
    number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    return os.fdopen(number, "r+b", buffering=0)


def _is_half(line: bytes) -> bool:
    """Whether it can be the beginning of a first line."""
    return line.startswith(_BEGIN) or _BEGIN.startswith(line)


def _seed_of(line: bytes, header: dict[str, Any], path: Path | None) -> int:
    """Return the checksum of the first line; OutputError where it is damaged or of another validation."""
    if not line.startswith(_BEGIN):
        raise OutputError(f"'{path}' is no journal of a validation; {_ANEW}")
    if not line.startswith(_BEGIN + b"%d," % SCHEMA) and CRC not in line:
        raise OutputError(f"'{path}' is the journal of another version of onnxcam; {_ANEW}")
    try:
        found = entry_of(line)
    except ValueError:
        raise OutputError(f"the journal '{path}' is damaged in its first line; {_ANEW}") from None
    if found[_KEY] != SCHEMA:
        raise OutputError(f"'{path}' is the journal of another version of onnxcam; {_ANEW}")
    differing = [name for name in {**found, **header} if found.get(name) != header.get(name)]
    if differing:
        what = "; ".join(f"{name} was {found.get(name)!r} and is {header.get(name)!r}" for name in differing)
        raise OutputError(f"'{path}' is the journal of another validation: {what}; {_ANEW}")
    return zlib.crc32(line)
