"""Read and check a recording: scores and maps of one model, made on any machine (docs/recording.md)."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.compare.device_runner import DONE, FORMAT, PART, SEAL, TENSORS, VERSION, digest
from onnxcam.compare.outcome import ModelInfo, Outcome
from onnxcam.compare.tasks.classification import ClassScores, class_map
from onnxcam.errors import RecordingError
from onnxcam.media.frame import Frame
from onnxcam.targets.scores import to_probabilities
from onnxcam.text import in_message

__all__ = ["Recording"]

_DTYPES = {"scores": "float32", "maps": "float32", "classes": "int64"}
_HEADS = ("softmax", "logsoftmax", "sigmoid")
_SIDE_LENGTH, _PIXELS = 2**20, 2**30  # limits of OpenCV for one image
_BYTES = 2**31  # maximum size of recording.json, enough for some million images
_FINEST = 2**14  # maximum cells of a map along one side of the image
_INFO = ("name", "sha256", "kind", "method", "preprocess", "provider")


class Recording:
    """A checked recording. Outcomes are read from disk on access.

    Args:
        folder: Folder with ``recording.json``.

    Raises:
        RecordingError: the recording is missing, incomplete, damaged, or of another version.

    Example:
        >>> [outcome.target for outcome in Recording("run")]
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._content = _read(self.folder)
        self.info = self._info()
        self.class_names = self._texts("labels")
        self.pictures: Sequence[Mapping[str, Any]] = self._part(self._content, "pictures", list)
        self.unreadable = self._left_out()
        self.warnings = self._texts("warnings") or []
        self.layers: Mapping[str, Any] | None = self._part(self._content, "layers", dict, optional=True)
        self._check_pictures()
        meaning = self._part(self._content, "scores", dict)
        self.head, self.exclusive = meaning.get("head"), bool(meaning.get("exclusive", True))
        self.known = bool(meaning.get("known", True))
        if not (self.head is None or self.head in _HEADS):
            raise self._wrong(f"scores.head is {self.head!r}; it is null, softmax, logsoftmax or sigmoid")
        self._shapes = {name: self._shape(name) for name in TENSORS}
        self._tensors = {name: self._tensor(name) for name in TENSORS}
        self._check_counts()
        self._check_classes()

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Outcome]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Outcome:
        """Return the outcome of image number *row*."""
        picture = self.pictures[row]
        scores = np.array(self._tensors["scores"][row])
        shape, frame = picture.get("map"), picture.get("frame")
        flat = None if shape is None else self._tensors["maps"][self._starts[row] : self._starts[row + 1]]
        with np.errstate(all="ignore"):  # scores may be infinite
            means = to_probabilities(scores, self.head, exclusive=self.exclusive) if self.known else None
        raw = None if flat is None else np.array(flat).reshape(shape)
        return Outcome(
            picture=picture["name"],
            sha256=picture["sha256"],
            size=(picture["size"][0], picture["size"][1]),
            prediction=ClassScores(scores, means, self.head, self.exclusive),
            maps=(class_map(self.target(row), raw, picture.get("why", "")),),
            frame=None if frame is None else Frame(*frame),
        )

    def target(self, row: int) -> int:
        """Return the explained class of image number *row*."""
        return int(self._tensors["classes"][row])

    @property
    def name(self) -> str:
        """Name for messages: the folder."""
        return str(self.folder)

    @property
    def prediction(self) -> type[ClassScores]:
        """Type of the predictions."""
        return ClassScores

    @property
    def seal(self) -> str:
        """Hash of the whole recording; it covers the hashes of the tensors."""
        return str(self._content["seal"])

    @property
    def has_maps(self) -> bool:
        """Whether any image has a map."""
        return bool(self._starts[-1])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self._shapes["scores"][1])

    @property
    def explained(self) -> dict[str, int]:
        """Explained class of each image, by the hash of its file."""
        return {one["sha256"]: int(index) for one, index in zip(self.pictures, self._tensors["classes"], strict=True)}

    def _info(self) -> ModelInfo:
        model = self._part(self._content, "model", dict)
        words = {name: self._part(model, name, str) for name in _INFO}
        words["preprocess_source"] = self._part(model, "preprocess_source", str, optional=True) or ""
        return ModelInfo(layer=self._part(model, "layer", str, optional=True), **words)

    def _texts(self, name: str) -> Sequence[str] | None:
        found: Sequence[str] | None = self._part(self._content, name, list, optional=True)
        if found is not None and not _are_texts(found):
            raise self._wrong(f"{name} is a list of texts, or null")
        return found

    def _left_out(self) -> list[tuple[str, str]]:
        found = self._part(self._content, "unreadable", list, optional=True) or []
        if not all(isinstance(one, dict) and _are_texts([one.get("name"), one.get("why")]) for one in found):
            raise self._wrong('unreadable is a list of {"name": …, "why": …}')
        return [(one["name"], one["why"]) for one in found]

    def _check_pictures(self) -> None:
        if not self.pictures:
            raise self._wrong("there is no image in it")
        for place, one in enumerate(self.pictures):
            if not isinstance(one, dict) or not _is_picture(one):
                raise self._wrong(
                    f'pictures[{place}] is not {{"name": …, "sha256": …, "size": [H, W], "map": [h, w] or null}}'
                )

    def _check_counts(self) -> None:
        count, shapes = len(self.pictures), self._shapes
        areas = (math.prod(one.get("map") or [0]) for one in self.pictures)
        starts = [*itertools.accumulate(areas, initial=0)]
        if len(shapes["scores"]) != 2 or shapes["scores"][0] != count or not shapes["scores"][1]:
            raise self._wrong(f"there are {count} images, but scores {shapes['scores']}; it is [pictures, classes]")
        if shapes["classes"] != [count]:
            raise self._wrong(f"there are {count} images, but classes {shapes['classes']}")
        if shapes["maps"] != starts[-1:]:
            raise self._wrong(f"the maps of all images have {starts[-1]} cells, but maps {shapes['maps']}")
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise self._wrong(f"there are {len(self.class_names)} labels, but {self.classes} classes")
        self._starts = starts

    def _check_classes(self) -> None:
        found = self._tensors["classes"]
        if found.min() < 0 or found.max() >= self.classes:
            raise self._wrong(f"classes.bin names a class that is none of the {self.classes}")

    def _tensor_entry(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._part(self._part(self._content, "tensors", dict), name, dict)
        return found

    def _shape(self, name: str) -> list[int]:
        entry = self._tensor_entry(name)
        shape: list[int] = self._part(entry, "shape", list)
        if entry.get("dtype") != _DTYPES[name] or entry.get("order") != "little":
            raise self._wrong(
                f"{name} is {entry.get('dtype')} {entry.get('order')}; it is little-endian {_DTYPES[name]}"
            )
        if len(shape) > 2 or not all(length == 0 or _is_length(length, 2**62) for length in shape):
            raise self._wrong(f"the shape of {name} is {shape}; it is a list of lengths")
        return shape

    def _tensor(self, name: str) -> NDArray[Any]:
        """Return a memory-mapped tensor, after a check of its size and hash."""
        entry, shape = self._tensor_entry(name), self._shapes[name]
        file = self._part(entry, "file", str)
        path, dtype = self.folder / file, np.dtype(TENSORS[name])
        if Path(file).name != file or paths.kind(path) != "file":
            raise self._wrong(f"{file} is missing; copy the whole folder again")
        wanted = math.prod(shape) * dtype.itemsize
        try:
            there = path.stat().st_size
            if there != wanted:
                raise self._wrong(
                    f"{file} has {there} bytes instead of {wanted}: it is truncated; copy the folder again"
                )
            if digest(path) != entry.get("sha256"):
                raise self._wrong(f"{file} has changed since it was written (its hash differs); copy the folder again")
            return np.memmap(path, dtype, "r", shape=tuple(shape)) if wanted else np.zeros(0, dtype)
        except OSError as error:
            raise self._wrong(f"{file} cannot be read: {error.strerror}") from None

    def _part(self, whole: Mapping[str, Any], name: str, kind: type, *, optional: bool = False) -> Any:
        found = whole.get(name)
        if isinstance(found, kind) or (found is None and optional):
            return found
        word = {"str": "a text", "dict": "an object", "list": "a list"}[kind.__name__]
        raise self._wrong(f"{DONE} has no {name!r} that is {word} (docs/recording.md)")

    def _wrong(self, why: str) -> RecordingError:
        return RecordingError(f"recording '{self.folder}': {why}")


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
    if found.get("version") != VERSION:
        raise RecordingError(f"{where} is of version {found.get('version')}; this onnxcam reads version {VERSION}")
    if found.get("seal") != hashlib.sha256(data.rpartition(SEAL)[0]).hexdigest():
        raise RecordingError(
            f"{where}: {DONE} has changed since it was written (its seal differs); copy the folder again"
        )
    return found


def _is_picture(one: Mapping[str, Any]) -> bool:
    name, sha256, why = one.get("name"), one.get("sha256"), one.get("why", "")
    pairs = [one.get("size"), *([one["map"]] if one.get("map") is not None else [])]
    sizes = all(isinstance(pair, list) and len(pair) == 2 and all(_is_length(x) for x in pair) for pair in pairs)
    named = isinstance(name, str) and _is_name(name) and isinstance(why, str)
    hashed = isinstance(sha256, str) and len(sha256) == 64
    return named and hashed and sizes and math.prod(one["size"]) <= _PIXELS and _is_framed(one)


def _is_framed(one: Mapping[str, Any]) -> bool:
    """Whether the frame is a valid rectangle, not so small that the enlarged map would exhaust memory."""
    frame = one.get("frame")
    if frame is None:
        return True
    if not (isinstance(frame, list) and len(frame) == 4 and all(_is_number(x) for x in frame)):
        return False
    spans, cells = (frame[3] - frame[1], frame[2] - frame[0]), one.get("map") or (1, 1)
    return min(spans) > 0 and all(cells[axis] * one["size"][axis] <= _FINEST * spans[axis] for axis in (0, 1))


def _is_name(text: str) -> bool:
    """Whether *text* can be a file name."""
    try:
        return "\0" not in text and bool(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_length(value: Any, longest: int = _SIDE_LENGTH) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= longest


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 4 * _SIDE_LENGTH
