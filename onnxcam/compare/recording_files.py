"""Files of a recording, checked: ``recording.json`` and tensors of raw numbers, which anyone may have written."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.compare.device_runner import DONE, FORMAT, NAMES, PART, SEAL, TENSORS, digest
from onnxcam.errors import RecordingError
from onnxcam.media.frame import of_corners
from onnxcam.text import in_message

__all__ = [
    "AXES",
    "FINEST",
    "FINEST_OF_VOLUMES",
    "NO_MAPS",
    "PIXELS",
    "SIDE_LENGTH",
    "RecordingFiles",
    "are_texts",
    "is_framed",
    "is_length",
    "is_map",
    "is_number",
]

SIDE_LENGTH, PIXELS = 2**20, 2**30
"""Limits of OpenCV for one image."""
AXES = (2, 3)
"""How many axes of space there may be: those of an image (a signal has one row), or of a volume."""
FINEST, FINEST_OF_VOLUMES = 2**14, 2**11
"""Maximum cells of a map along one side of the image, and of a volume."""
NO_MAPS = "none"
"""Method of a recording that can have no maps: its model gives no gradients, or cannot be baked."""

_WORDS = 700  # maximum length of a reason
_BYTES = 2**31  # maximum size of recording.json, enough for some million images


class RecordingFiles:
    """The files of a recording. ``content`` is that of ``recording.json``.

    Raises:
        RecordingError: the recording is missing, incomplete, damaged, or of an unknown version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = _read(folder)
        self.version = int(self.content["version"])
        self.kinds = TENSORS[self.version]
        self.shapes = {name: self._shape(name) for name in self.kinds}
        self.tensors = {name: self._tensor(name) for name in self.kinds}

    def part(self, name: str, kind: type, *, optional: bool = False) -> Any:
        """Return the part of ``recording.json`` of a *name*, after a check of its type."""
        return self.part_of(self.content, name, kind, optional=optional)

    def part_of(self, whole: Mapping[str, Any], name: str, kind: type, *, optional: bool = False) -> Any:
        """Return the part of an object of a *name*, after a check of its type."""
        found = whole.get(name)
        if isinstance(found, kind) or (found is None and optional):
            return found
        word = {"str": "a text", "dict": "an object", "list": "a list"}[kind.__name__]
        raise self.wrong(f"{DONE} has no {name!r} that is {word} (docs/recording.md)")

    def texts(self, name: str) -> Sequence[str] | None:
        """Return a list of texts, None if it is missing."""
        found: Sequence[str] | None = self.part(name, list, optional=True)
        if found is not None and not are_texts(found):
            raise self.wrong(f"{name} is a list of texts, or null")
        return found

    def wrong(self, why: str) -> RecordingError:
        """Return the error for a recording that is not as it should be."""
        shown = why if len(why) <= _WORDS else f"{why[:_WORDS]} …"  # why may hold texts of anyone
        return RecordingError(f"recording '{self.folder}': {shown}")

    def _tensor_entry(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.part_of(self.part("tensors", dict), name, dict)
        return found

    def _shape(self, name: str) -> list[int]:
        entry = self._tensor_entry(name)
        shape: list[int] = self.part_of(entry, "shape", list)
        if entry.get("dtype") != NAMES[self.kinds[name]] or entry.get("order") != "little":
            raise self.wrong(
                f"{name} is {entry.get('dtype')} {entry.get('order')}; it is little-endian {NAMES[self.kinds[name]]}"
            )
        if len(shape) > 2 or not all(length == 0 or is_length(length, 2**62) for length in shape):
            raise self.wrong(f"the shape of {name} is {shape}; it is a list of lengths")
        return shape

    def _tensor(self, name: str) -> NDArray[Any]:
        """Return a memory-mapped tensor, after a check of its size and hash."""
        entry, shape = self._tensor_entry(name), self.shapes[name]
        file = self.part_of(entry, "file", str)
        path, dtype = self.folder / file, np.dtype(self.kinds[name])
        if Path(file).name != file or paths.kind(path) != "file":
            raise self.wrong(f"{file} is missing; copy the whole folder again")
        wanted = math.prod(shape) * dtype.itemsize
        try:
            there = path.stat().st_size
            if there != wanted:
                raise self.wrong(
                    f"{file} has {there} bytes instead of {wanted}: it is truncated; copy the folder again"
                )
            if digest(path) != entry.get("sha256"):
                raise self.wrong(f"{file} has changed since it was written (its hash differs); copy the folder again")
            return np.memmap(path, dtype, "r", shape=tuple(shape)) if wanted else np.zeros(0, dtype)
        except OSError as error:
            raise self.wrong(f"{file} cannot be read: {error.strerror}") from None


def _read(folder: Path) -> dict[str, Any]:
    """Return the content of ``recording.json``, after a check of its seal."""
    where, file = f"recording '{folder}'", folder / DONE
    if paths.kind(folder) != "folder":
        raise RecordingError(f"recording '{in_message(folder)}' does not exist; `onnxcam record` makes one")
    if paths.kind(file) == "missing":
        if paths.kind(folder / PART) == "file":
            done = max(len(paths.read_bytes(folder / PART, RecordingError, limit=_BYTES).splitlines()) - 1, 0)
            raise RecordingError(f"{where} is not complete, it ends after {done} images; repeat the command to resume")
        raise RecordingError(f"{where} has no {DONE}; give the folder that `onnxcam record` or run.py wrote")
    data = paths.read_bytes(file, RecordingError, "recording", _BYTES)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise RecordingError(f"{where}: {DONE} is cut off or no JSON; copy the folder again") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise RecordingError(f'{where}: {DONE} does not say "format": "{FORMAT}"; it is no recording')
    version = found.get("version")
    if not isinstance(version, int) or version not in TENSORS:
        known = " and ".join(map(str, TENSORS))
        raise RecordingError(f"{where} is of version {version}; this onnxcam reads versions {known}")
    if found.get("seal") != hashlib.sha256(data.rpartition(SEAL)[0]).hexdigest():
        raise RecordingError(
            f"{where}: {DONE} has changed since it was written (its seal differs); copy the folder again"
        )
    return found


def are_texts(values: Sequence[Any]) -> bool:
    """Whether all *values* are texts."""
    return all(isinstance(value, str) for value in values)


def is_length(value: Any, longest: int = SIDE_LENGTH) -> bool:
    """Whether *value* is a length of at most *longest*."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= longest


def is_map(shape: Any) -> bool:
    """Whether *shape* is that of a map, [h, w] or [d, h, w], or None."""
    return shape is None or (isinstance(shape, list) and len(shape) in AXES and all(map(is_length, shape)))


def is_framed(picture: Mapping[str, Any], maps: Sequence[Sequence[int] | None]) -> bool:
    """Whether the *maps* have the axes of the image, and the frame is a part of it that is not empty.

    Nor is it so small that one of the enlarged *maps* would exhaust memory.
    """
    frame, size = picture.get("frame"), picture["size"]
    shapes = [shape or [1] * len(size) for shape in maps] or [[1] * len(size)]
    if any(len(cells) != len(size) for cells in shapes):
        return False
    if frame is None:
        return len(size) == 2 or all(n <= FINEST_OF_VOLUMES for cells in shapes for n in cells)
    if not (isinstance(frame, list) and len(frame) == 2 * len(size) and all(is_number(x) for x in frame)):
        return False
    spans = [end - start for start, end in of_corners(frame).intervals]
    finest = FINEST if len(size) == 2 else FINEST_OF_VOLUMES
    return min(spans) > 0 and all(
        n * length <= finest * span for cells in shapes for n, length, span in zip(cells, size, spans, strict=True)
    )


def is_number(value: Any) -> bool:
    """Whether *value* is a number near the pixels of an image."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 4 * SIDE_LENGTH
