"""Journal of image comparisons on disk: one line of JSON per image, appended, so that an interrupted run can resume.

The first line identifies what is compared. Each other line holds one `ImageComparison` and the number of its image. A
line ends in a checksum that also covers the first line (`onnxcam.compare.device_runner.line_of`). When a journal is
opened again, an incomplete last line is dropped and a damaged line is blanked; their images are compared again. Lines
are synced to disk in batches. The file is locked while a run writes it.
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
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.errors import OutputError
from onnxcam.files import writing
from onnxcam.locks import lock, unlock

__all__ = ["FILE", "SCHEMA", "SYNC", "Journal", "open_journal"]

FILE = "journal.jsonl"
"""Name of the journal in the folder of a validation."""
SCHEMA = 4
SYNC = 1.0  # seconds between syncs to disk
T = TypeVar("T")

_KEY = "onnxcam.validation"
_BEGIN = b'{"onnxcam.validation": '
_ANEW = "choose another folder with -o, or --overwrite it"


class Journal(Sequence[ImageComparison]):
    """Image comparisons of one validation, in the order of the images. Each is read from disk on access.

    Args:
        path: Journal file; created if missing, resumed if present. None: a temporary file.
        identity: Identity of the validation. A journal resumes only if its identity is the same.
        overwrite: Discard the contents of the file.
        names: Paths of the images; a line with another path for its number counts as damaged. None: not checked.

    Attributes:
        damaged: One warning per damaged line.

    Raises:
        OutputError: the file is the journal of another validation, its first line is damaged, another run writes it, or
            it cannot be written.

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
        self._places: dict[int, tuple[int, int]] = {}  # offset and length of the line of each image
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
            self.damaged.append(f"'{self.path}': line {number} is damaged; its image is done again")
            return place
        return None

    def _parsed(self, line: bytes) -> tuple[int, ImageComparison]:
        """Return the image number and comparison of a line; raise ValueError if it is damaged."""
        entry = entry_of(line, self._seed)
        number, pair = entry.get("number"), entries.read(entry)
        if not isinstance(number, int) or number < 0:
            raise ValueError("no number")
        if self._names is not None and (number >= len(self._names) or self._names[number] != pair.picture):
            raise ValueError("the number of another image")
        return number, pair

    @property
    def done(self) -> Collection[int]:
        """Numbers of the finished images."""
        return self._places.keys()

    def add(self, number: int, pair: ImageComparison) -> None:
        """Append the comparison of image *number*. It survives a kill at once, and a power failure after `sync`."""
        line = line_of({"number": number, **entries.written(pair)}, self._seed)
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

    def close(self) -> None:
        """Sync and close the file."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> ImageComparison: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageComparison]: ...
    def __getitem__(self, index: int | slice) -> ImageComparison | list[ImageComparison]:
        if self._order is None:
            self._order = sorted(self._places)
        if isinstance(index, slice):
            return [self._read(number) for number in self._order[index]]
        return self._read(self._order[index])

    def __iter__(self) -> Iterator[ImageComparison]:
        return (self[index] for index in range(len(self)))

    def _read(self, number: int) -> ImageComparison:
        place, length = self._places[number]
        try:
            self._file.seek(place)
            return self._parsed(self._file.read(length))[1]
        except (OSError, ValueError):
            raise OutputError(f"'{self.path}' was changed while it was used; run the same command again") from None


def open_journal(
    directory: str | os.PathLike[str] | None, identity: dict[str, Any], overwrite: bool, names: Sequence[str]
) -> Journal:
    """Open the journal in *directory*; without one, a temporary journal."""
    if directory is None:
        return Journal(None, identity)
    path = Path(directory) / FILE
    with writing(directory, "into "):
        path.parent.mkdir(parents=True, exist_ok=True)
    return Journal(path, identity, overwrite=overwrite, names=names)


def _opened(path: str | os.PathLike[str] | None) -> io.FileIO:
    """Open the file unbuffered; create it if missing. None: a temporary file."""
    if path is None:
        return tempfile.TemporaryFile("w+b", buffering=0)
    number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    return os.fdopen(number, "r+b", buffering=0)


def _is_half(line: bytes) -> bool:
    """Whether *line* is the beginning of a first line."""
    return line.startswith(_BEGIN) or _BEGIN.startswith(line)


def _seed_of(line: bytes, header: dict[str, Any], path: Path | None) -> int:
    """Return the checksum of the first line; raise OutputError if it is damaged or of another validation."""
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
