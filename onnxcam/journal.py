"""Journal of a long run on disk: one line of JSON per image, appended, so that an interrupted run can resume.

The first line identifies the run. Each other line holds the result of one image and its number. A line ends in a
checksum that also covers the first line. When a journal is opened again, an incomplete last line is dropped and a
damaged line is blanked; their images are done again. Lines are synced to disk in batches. The file is locked while a
run writes it.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
import weakref
import zlib
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload

from onnxcam.errors import OutputError
from onnxcam.files import writing
from onnxcam.locks import lock, unlock

__all__ = ["FILE", "SYNC", "OtherRunError", "RunJournal", "entries_of", "entry_of", "line_of"]

FILE = "journal.jsonl"
"""Name of the journal in the folder of a run."""
SYNC = 1.0  # seconds between syncs to disk
T = TypeVar("T")
U = TypeVar("U")

_CRC = b', "crc32": "'
_ANEW = "choose another folder with -o, or --overwrite it"


class OtherRunError(OutputError):
    """The journal is of another run, or of another version, or its first line is damaged."""


class RunJournal(Sequence[T]):
    """Results of one run, in the order of the images. Each is read from disk on access.

    A subclass states the kind of run, and how a result becomes JSON.

    Args:
        path: Journal file; created with its folders if missing, resumed if present. None: a temporary file.
        identity: Identity of the run. A journal resumes only if its identity is the same.
        overwrite: Discard the contents of the file.
        names: Paths of the images; a line with another path for its number counts as damaged. None: not checked.

    Attributes:
        header: Content of the first line.
        damaged: One warning per damaged line.

    Raises:
        OtherRunError: the file is the journal of another run, or its first line is damaged.
        OutputError: the file is no journal, another run writes it, or it cannot be written.
    """

    kind: ClassVar[str]
    """What a run is called in messages. The first line begins with the key ``onnxcam.KIND``."""
    schema: ClassVar[int]
    """Version of the lines."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        identity: Mapping[str, Any],
        *,
        overwrite: bool = False,
        names: Sequence[str] | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self._made: list[Path] = []  # the file and its folders, as far as they are created here
        if self.path is not None:
            self._made = [one for one in (self.path, *self.path.parents) if not os.path.lexists(one)]
            with writing(self.path.parent, "into "):
                self.path.parent.mkdir(parents=True, exist_ok=True)
        self.damaged: list[str] = []
        self._names = names
        self._places: dict[int, tuple[int, int]] = {}  # offset and length of the line of each image
        self._order: list[int] | None = None
        self._seed = self._end = 0
        self._file = self._on_disk(lambda: _opened(path))
        weakref.finalize(self, self._file.close)
        try:
            if not lock(self._file):
                raise OutputError(f"another run writes '{path}'; wait until it ends, or choose another folder with -o")
            self.header = json.loads(json.dumps({self.key(): self.schema, **identity}))
            self._on_disk(lambda: self._take_up(self.header, overwrite))
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    @abstractmethod
    def _written(self, result: T) -> dict[str, Any]:
        """Return *result* as a JSON object."""

    @abstractmethod
    def _result(self, entry: Mapping[str, Any]) -> T:
        """Return the result in *entry*, the inverse of `_written`; raise ValueError if it is invalid."""

    @abstractmethod
    def _picture(self, result: T) -> str:
        """Return the path of the image of *result*."""

    @classmethod
    def key(cls) -> str:
        """Return the key with which the first line begins."""
        return f"onnxcam.{cls.kind}"

    @classmethod
    def begins(cls, line: bytes) -> bool:
        """Whether *line* is the first line of such a journal, or the beginning of one."""
        begin = b'{"%s": ' % cls.key().encode()
        return line.startswith(begin) or begin.startswith(line)

    def _on_disk(self, act: Callable[[], U]) -> U:
        """Return the result of *act*; turn OSError into OutputError."""
        try:
            return act()
        except OSError as error:
            raise OutputError(
                f"the journal '{self.path}' cannot be written: {error.strerror}; choose another -o"
            ) from None

    def _take_up(self, header: dict[str, Any], overwrite: bool) -> None:
        """Read the finished images, drop an incomplete last line, and write the first line of a new file."""
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
        """Process one line of the file; return its offset and length if it is damaged."""
        place = self._end, len(line)
        if not line.endswith(b"\n") and (number > 1 or self.begins(line)):
            return None
        self._end += len(line)
        if number == 1:
            self._seed = self._seed_of(line, header)
            return None
        if not line.strip(b" \n"):
            return None
        try:
            self._places.setdefault(self._parsed(line)[0], place)
        except ValueError:
            self.damaged.append(f"'{self.path}': line {number} is damaged; its image is done again")
            return place
        return None

    def _seed_of(self, line: bytes, header: dict[str, Any]) -> int:
        """Return the checksum of the first line; raise OutputError if it is damaged or of another run."""
        key, path = self.key(), self.path
        if not line.startswith(b'{"%s": ' % key.encode()):
            raise OutputError(f"'{path}' is no journal of {_one(self.kind)}; {_ANEW}")
        if not line.startswith(b'{"%s": %d,' % (key.encode(), self.schema)) and _CRC not in line:
            raise OtherRunError(f"'{path}' is the journal of another version of onnxcam; {_ANEW}")
        try:
            found = entry_of(line)
        except ValueError:
            raise OtherRunError(f"the journal '{path}' is damaged in its first line; {_ANEW}") from None
        if found[key] != self.schema:
            raise OtherRunError(f"'{path}' is the journal of another version of onnxcam; {_ANEW}")
        differing = [name for name in {**found, **header} if found.get(name) != header.get(name)]
        if differing:
            values = {name: (_said(found.get(name)), _said(header.get(name))) for name in differing}
            what = "; ".join(f"{name} was {before} and is {now}" for name, (before, now) in values.items())
            raise OtherRunError(f"'{path}' is the journal of another {self.kind}: {what}; {_ANEW}")
        return zlib.crc32(line)

    def _parsed(self, line: bytes) -> tuple[int, T]:
        """Return the image number and the result of a line; raise ValueError if it is damaged."""
        entry = entry_of(line, self._seed)
        number, result = entry.get("number"), self._result(entry)
        if not isinstance(number, int) or number < 0:
            raise ValueError("no number")
        if self._names is not None and (number >= len(self._names) or self._names[number] != self._picture(result)):
            raise ValueError("the number of another image")
        return number, result

    @property
    def done(self) -> Collection[int]:
        """Numbers of the finished images."""
        return self._places.keys()

    def add(self, number: int, result: T) -> None:
        """Append the result of image *number*. It survives a kill at once, and a power failure after `sync`."""
        line = line_of({"number": number, **self._written(result)}, self._seed)
        place = self._on_disk(lambda: self._append(line))
        self._places.setdefault(number, (place, len(line)))
        self._order = None
        if time.monotonic() - self._synced > SYNC:
            self.sync()

    def _append(self, line: bytes) -> int:
        """Append *line* after the last complete line and return its offset."""
        place = self._end
        self._put(line, place)
        self._end += len(line)
        return place

    def _put(self, data: bytes, place: int) -> None:
        self._file.seek(place)
        while data:
            data = data[self._file.write(data) :]

    def sync(self) -> None:
        """Sync all lines to disk."""
        self._on_disk(self._sync)

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def release(self) -> None:
        """Sync and unlock the file; it can still be read."""
        self.sync()
        unlock(self._file)

    def leave(self) -> None:
        """End after an error: keep the results for a run that resumes; without any, leave nothing behind."""
        if len(self) or self.path not in self._made:
            self.release()
        else:
            self.discard()

    def discard(self) -> None:
        """Remove the file, and the empty folders that were created for it."""
        self._file.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        for folder in self._made[1:]:
            with suppress(OSError):
                folder.rmdir()

    def close(self) -> None:
        """Sync and close the file."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if self._order is None:
            self._order = sorted(self._places)
        if isinstance(index, slice):
            return [self._read(number) for number in self._order[index]]
        return self._read(self._order[index])

    def __iter__(self) -> Iterator[T]:
        return (self[index] for index in range(len(self)))

    def _read(self, number: int) -> T:
        place, length = self._places[number]
        try:
            self._file.seek(place)
            return self._parsed(self._file.read(length))[1]
        except (OSError, ValueError):
            raise OutputError(f"'{self.path}' was changed while it was used; run the same command again") from None


def line_of(entry: Mapping[str, Any], seed: int = 0) -> bytes:
    """Return *entry* as a line of JSON with a checksum at its end; *seed* starts the checksum.

    `onnxcam.compare.device_runner`, which runs without onnxcam, has a copy of this and of `entry_of`.
    """
    body = json.dumps(entry, allow_nan=False)[:-1].encode()
    return body + _CRC + b'%08x"}\n' % zlib.crc32(body, seed)


def entry_of(line: bytes, seed: int = 0) -> dict[str, Any]:
    """Return the entry in a line, the inverse of `line_of`; raise ValueError if the line is damaged."""
    body, _, end = line.rpartition(_CRC)
    if end != b'%08x"}\n' % zlib.crc32(body, seed):
        raise ValueError("the checksum differs")
    try:
        found = json.loads((body + b"}").decode())
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return found


def entries_of(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield the content of each line of a complete journal, the first line first; nothing is repaired.

    Raises:
        OutputError: the file cannot be read, or a line is damaged.
    """
    number = 1
    try:
        with open(path, "rb") as file:
            first = file.readline()
            yield entry_of(first)
            seed = zlib.crc32(first)
            for line in file:
                number += 1
                if line.strip(b" \n"):
                    yield entry_of(line, seed)
    except OSError as error:
        raise OutputError(f"the journal '{path}' cannot be read: {error.strerror}; repeat its command") from None
    except ValueError:
        raise OutputError(f"'{path}': line {number} is damaged; repeat its command") from None


def _opened(path: str | os.PathLike[str] | None) -> io.FileIO:
    """Open the file unbuffered; create it if missing. None: a temporary file."""
    if path is None:
        return tempfile.TemporaryFile("w+b", buffering=0)
    number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    return os.fdopen(number, "r+b", buffering=0)


def _one(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _said(value: Any) -> str:
    """Return a value of the first line in words."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={_said(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return "not given" if value is None or value == "" else repr(value) if isinstance(value, str) else str(value)
