"""Version 1 of a recording: of each image the scores of a classifier, and the map of one class."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxcam.compare.outcome import ObjectMap
from onnxcam.compare.recording_files import RecordingFiles, is_framed, is_map
from onnxcam.compare.tasks.classification import ClassScores, class_map
from onnxcam.targets.scores import to_probabilities

__all__ = ["RecordedClasses"]

_HEADS = ("softmax", "logsoftmax", "sigmoid")


class RecordedClasses:
    """Predictions and maps of a classifier.

    Raises:
        RecordingError: counts, maps or classes do not fit each other.
    """

    prediction = ClassScores

    def __init__(
        self, files: RecordingFiles, pictures: Sequence[Mapping[str, Any]], names: Sequence[str] | None
    ) -> None:
        self._files, self._pictures = files, pictures
        meaning = files.part("scores", dict)
        self.head, self.exclusive = meaning.get("head"), bool(meaning.get("exclusive", True))
        self.known = bool(meaning.get("known", True))
        if not (self.head is None or self.head in _HEADS):
            raise files.wrong(f"scores.head is {self.head!r}; it is null, softmax, logsoftmax or sigmoid")
        for place, one in enumerate(pictures):
            if not _is_explained(one):
                raise files.wrong(
                    f'pictures[{place}] is not {{"name": …, "sha256": …, "size": [H, W], "map": [h, w] or null}}'
                )
        self._check_counts(names)
        found = files.tensors["classes"]
        if found.min() < 0 or found.max() >= self.classes:
            raise files.wrong(f"classes.bin names a class that is none of the {self.classes}")

    def _check_counts(self, names: Sequence[str] | None) -> None:
        files, count = self._files, len(self._pictures)
        shapes, areas = files.shapes, (math.prod(one.get("map") or [0]) for one in self._pictures)
        starts = [*itertools.accumulate(areas, initial=0)]
        if len(shapes["scores"]) != 2 or shapes["scores"][0] != count or not shapes["scores"][1]:
            raise files.wrong(f"there are {count} images, but scores {shapes['scores']}; it is [pictures, classes]")
        if shapes["classes"] != [count]:
            raise files.wrong(f"there are {count} images, but classes {shapes['classes']}")
        if shapes["maps"] != starts[-1:]:
            raise files.wrong(f"the maps of all images have {starts[-1]} cells, but maps {shapes['maps']}")
        if names is not None and len(names) != self.classes:
            raise files.wrong(f"there are {len(names)} labels, but {self.classes} classes")
        self._starts = starts

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self._files.shapes["scores"][1])

    @property
    def has_maps(self) -> bool:
        """Whether any image has a map."""
        return bool(self._starts[-1])

    def prediction_of(self, row: int) -> ClassScores:
        """Return the scores of image number *row*."""
        scores = np.array(self._files.tensors["scores"][row])
        with np.errstate(all="ignore"):  # scores may be infinite
            means = to_probabilities(scores, self.head, exclusive=self.exclusive) if self.known else None
        return ClassScores(scores, means, self.head, self.exclusive)

    def objects(self, row: int) -> tuple[ObjectMap]:
        """Return the explained class of image number *row*."""
        picture, tensors = self._pictures[row], self._files.tensors
        shape, part = picture.get("map"), slice(self._starts[row], self._starts[row + 1])
        raw = None if shape is None else np.array(tensors["maps"][part]).reshape(shape)
        return (class_map(int(tensors["classes"][row]), raw, picture.get("why", "")),)


def _is_explained(one: Mapping[str, Any]) -> bool:
    return is_map(one.get("map")) and isinstance(one.get("why", ""), str) and is_framed(one, [one.get("map")])
