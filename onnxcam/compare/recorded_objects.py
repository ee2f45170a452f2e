"""Version 2 of a recording: of each image named arrays, the prediction of a task, and the maps of what is explained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.outcome import ObjectMap, Prediction
from onnxcam.compare.prediction_arrays import ARRAY_TYPES, LARGEST
from onnxcam.compare.recording_files import RecordingFiles, is_framed, is_map, is_number
from onnxcam.compare.tasks import prediction_of

__all__ = ["RecordedObjects", "object_entry"]

_AXES, _ARRAYS, _OBJECTS = 8, 64, 4096  # maxima for one image
_LARGEST_SCORE = 1e300


class RecordedObjects:
    """Predictions of a task, and maps of what is explained.

    Raises:
        RecordingError: the task is unknown, or arrays and maps do not fit their files.
    """

    classes = None

    def __init__(self, files: RecordingFiles, pictures: Sequence[Mapping[str, Any]]) -> None:
        self._files, self._pictures = files, pictures
        task = files.part("task", str)
        try:
            self.prediction: type[Prediction] = prediction_of(task)
        except KeyError as error:
            raise files.wrong(f"its task is {task!r}; this onnxcam reads {error.args[0]}") from None
        for place, one in enumerate(pictures):
            if why := _wrong(one):
                raise files.wrong(f"pictures[{place}]: {why} (docs/recording.md)")
        self._starts = {
            "arrays": _starts(map(_array_bytes, pictures)),
            "maps": _starts(sum(map(_cells, one["objects"])) for one in pictures),
        }
        for name, starts in self._starts.items():
            if files.shapes[name] != starts[-1:]:
                raise files.wrong(f"the {name} of all images have {starts[-1]} numbers, but {files.shapes[name]}")

    @property
    def has_maps(self) -> bool:
        """Whether any image has a map."""
        return bool(self._starts["maps"][-1])

    def prediction_of(self, row: int) -> Prediction:
        """Return the prediction for image number *row*; raise RecordingError if it is none."""
        try:
            return self.prediction.from_arrays({**self._shared, **self.arrays_of(row)})
        except ValueError as error:
            raise self._files.wrong(f"pictures[{row}].arrays: {error}") from None

    @cached_property
    def _shared(self) -> dict[str, NDArray[Any]]:
        """The arrays of the first image that hold for all."""
        return {name: array for name, array in self.arrays_of(0).items() if name in self.prediction.shared}

    def arrays_of(self, row: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of image number *row*."""
        data = np.array(self._files.tensors["arrays"][self._starts["arrays"][row] : self._starts["arrays"][row + 1]])
        forms: Mapping[str, Any] = self._pictures[row]["arrays"]
        ends = itertools.accumulate(map(_bytes, forms.values()), initial=0)
        return {name: _array(data, start, form) for start, (name, form) in zip(ends, forms.items(), strict=False)}

    def objects(self, row: int) -> tuple[ObjectMap, ...]:
        """Return what is explained in image number *row*."""
        entries, start = self._pictures[row]["objects"], self._starts["maps"][row]
        starts = itertools.accumulate(map(_cells, entries), initial=start)
        return tuple(self._object(one, at) for at, one in zip(starts, entries, strict=False))

    def _object(self, one: Mapping[str, Any], start: int) -> ObjectMap:
        shape, box = one["map"], one["box"]
        part = self._files.tensors["maps"][start : start + _cells(one)]
        return ObjectMap(
            target=one["target"],
            index=one["index"],
            map=None if shape is None else np.array(part).reshape(shape),
            why=one["why"],
            score=one["score"],
            box=None if box is None else tuple(box),
        )


def object_entry(one: ObjectMap) -> dict[str, Any]:
    """Return what is explained as an object of a recording, with its map as an array."""
    score = None if one.score is None else float(one.score)
    box = None if one.box is None else [float(x) for x in one.box]
    index = None if one.index is None else int(one.index)
    known = {"score": score if _is_score(score) else None, "box": box if _is_box(box) else None}
    return {"target": one.target, "index": index, **known, "map": one.map, "why": one.why}


def _array(data: NDArray[np.uint8], start: int, form: Mapping[str, Any]) -> NDArray[Any]:
    """Return the array of a *form* in the bytes from *start* on."""
    dtype = np.dtype(form["dtype"]).newbyteorder("<")
    if dtype.kind == "b":  # a byte above 1 is no valid bool
        return (data[start : start + _bytes(form)] != 0).reshape(form["shape"])
    return np.frombuffer(data[start : start + _bytes(form)].tobytes(), dtype).reshape(form["shape"])


def _starts(counts: Any) -> list[int]:
    return [*itertools.accumulate(counts, initial=0)]


def _array_bytes(picture: Mapping[str, Any]) -> int:
    return sum(map(_bytes, picture["arrays"].values()))


def _bytes(form: Mapping[str, Any]) -> int:
    return math.prod(form["shape"]) * np.dtype(form["dtype"]).itemsize


def _cells(one: Mapping[str, Any]) -> int:
    return 0 if one["map"] is None else math.prod(one["map"])


def _wrong(picture: Mapping[str, Any]) -> str:
    """Return what is wrong with the arrays and objects of a picture; empty if nothing is."""
    arrays, objects = picture.get("arrays"), picture.get("objects")
    if not (isinstance(arrays, dict) and len(arrays) <= _ARRAYS and all(map(_is_form, arrays.values()))):
        return f'arrays is not {{name: {{"dtype": {" or ".join(ARRAY_TYPES)}, "shape": […]}}}}'
    if not (isinstance(objects, list) and len(objects) <= _OBJECTS and all(map(_is_object, objects))):
        return 'objects is not a list of {"target": …, "index": …, "score": …, "box": …, "map": …, "why": …}'
    return (
        ""
        if is_framed(picture, [one["map"] for one in objects])
        else "frame is no rectangle, or too small for its maps, or a map has other axes than its image"
    )


def _is_form(form: Any) -> bool:
    if not isinstance(form, dict) or form.get("dtype") not in ARRAY_TYPES:
        return False
    shape = form.get("shape")
    return isinstance(shape, list) and len(shape) <= _AXES and all(_is_count(length) for length in shape)


def _is_object(one: Any) -> bool:
    if not isinstance(one, dict) or not {"target", "index", "score", "box", "map", "why"} <= one.keys():
        return False
    texts = isinstance(one["target"], str) and isinstance(one["why"], str)
    numbers = (one["index"] is None or _is_count(one["index"])) and _is_score(one["score"])
    return texts and numbers and _is_box(one["box"]) and is_map(one["map"])


def _is_score(value: Any) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (known and abs(value) < _LARGEST_SCORE)


def _is_box(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 4 and all(map(is_number, value)))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST
