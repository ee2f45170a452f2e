"""Read and check a recording: predictions and maps of one model, made on any machine (docs/recording.md)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxcam.compare.outcome import ModelInfo, ObjectMap, Outcome, Prediction
from onnxcam.compare.recorded_classes import RecordedClasses
from onnxcam.compare.recorded_objects import RecordedObjects
from onnxcam.compare.recorded_outputs import RecordedOutputs
from onnxcam.compare.recording_files import AXES, PIXELS, RecordingFiles, are_texts, is_length, is_number
from onnxcam.media.frame import of_corners

__all__ = ["Recording"]

_INFO = ("name", "sha256", "kind", "method", "preprocess", "provider")


class Recording:
    """A checked recording. Outcomes are read from disk on access.

    ``target`` is what was to be explained in each image, such as ``"top"`` or a class; None if it is not known, or what
    another recording explains.
    ``explains`` is the seal of the recording whose objects are explained; its own, if those that its model finds.

    Args:
        folder: Folder with ``recording.json``.

    Raises:
        RecordingError: the recording is missing, incomplete, damaged, or of an unknown version; also raised on access,
            for predictions that are none.

    Example:
        >>> [outcome.target for outcome in Recording("run")]
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._files = files = RecordingFiles(self.folder)
        self.info = self._info()
        self.class_names = files.texts("labels")
        self.pictures: Sequence[Mapping[str, Any]] = files.part("pictures", list)
        self.unreadable = self._left_out()
        self.warnings = files.texts("warnings") or []
        self.layers: Mapping[str, Any] | None = files.part("layers", dict, optional=True)
        self.target: str | None = files.part("target", str, optional=True)
        self.explains: str = files.part("explains", str, optional=True) or self.seal
        self._check_pictures()
        self._content = self._opened()

    def _opened(self) -> RecordedClasses | RecordedObjects:
        if self._files.version == 1:
            return RecordedClasses(self._files, self.pictures, self.class_names)
        kind = RecordedOutputs if "reading" in self._files.content else RecordedObjects
        return kind(self._files, self.pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Outcome]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Outcome:
        """Return the outcome of image number *row*."""
        picture = self.pictures[row]
        frame, spacing = picture.get("frame"), picture.get("spacing")
        return Outcome(
            picture=picture["name"],
            sha256=picture["sha256"],
            size=tuple(picture["size"]),
            prediction=self._content.prediction_of(row),
            maps=self.objects(row),
            frame=None if frame is None else of_corners(frame),
            spacing=None if spacing is None else tuple(spacing),
        )

    def objects(self, row: int) -> tuple[ObjectMap, ...]:
        """Return what is explained in image number *row*."""
        return self._content.objects(row)

    @property
    def name(self) -> str:
        """Name for messages: the folder."""
        return str(self.folder)

    @property
    def prediction(self) -> type[Prediction]:
        """Type of the predictions."""
        return self._content.prediction

    @property
    def seal(self) -> str:
        """Hash of the whole recording; it covers the hashes of the tensors."""
        return str(self._files.content["seal"])

    @property
    def has_maps(self) -> bool:
        """Whether any image has a map."""
        return self._content.has_maps

    @property
    def classes(self) -> int | None:
        """Number of classes of a classifier."""
        return self._content.classes

    def _info(self) -> ModelInfo:
        files = self._files
        model = files.part("model", dict)
        words = {name: files.part_of(model, name, str) for name in _INFO}
        words["preprocess_source"] = files.part_of(model, "preprocess_source", str, optional=True) or ""
        return ModelInfo(layer=files.part_of(model, "layer", str, optional=True), **words)

    def _left_out(self) -> list[tuple[str, str]]:
        found = self._files.part("unreadable", list, optional=True) or []
        if not all(isinstance(one, dict) and are_texts([one.get("name"), one.get("why")]) for one in found):
            raise self._files.wrong('unreadable is a list of {"name": …, "why": …}')
        return [(one["name"], one["why"]) for one in found]

    def _check_pictures(self) -> None:
        if not self.pictures:
            raise self._files.wrong("there is no image in it")
        for place, one in enumerate(self.pictures):
            if not isinstance(one, dict) or not _is_picture(one):
                raise self._files.wrong(f'pictures[{place}] is not {{"name": …, "sha256": …, "size": [H, W], …}}')


def _is_picture(one: Mapping[str, Any]) -> bool:
    name, sha256, size = one.get("name"), one.get("sha256"), one.get("size")
    if not (isinstance(size, list) and len(size) in AXES and all(map(is_length, size))):
        return False
    if not _is_spacing(one.get("spacing"), len(size)):
        return False
    named = isinstance(name, str) and _is_name(name)
    hashed = isinstance(sha256, str) and len(sha256) == 64
    return named and hashed and math.prod(size) <= PIXELS


def _is_spacing(lengths: Any, axes: int) -> bool:
    """Whether *lengths* are the millimetres from voxel to voxel on so many *axes*, or None."""
    if lengths is None:
        return True
    return isinstance(lengths, list) and len(lengths) == axes and all(is_number(x) and x > 0 for x in lengths)


def _is_name(text: str) -> bool:
    """Whether *text* can be a file name."""
    try:
        return "\0" not in text and bool(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False
