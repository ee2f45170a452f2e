"""Accuracy of embeddings, by the ground truth: whether the nearest image is of the same class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from onnxcam.errors import TruthError
from onnxcam.metrics.accuracy import check_lengths
from onnxcam.metrics.truth.annotation import Annotation
from onnxcam.targets.notation import Label

__all__ = ["RecallAtOne", "recall_at_one"]

_ROWS = 1024
"""Vectors that are compared with all others at a time."""


@dataclass(frozen=True)
class RecallAtOne:
    """Share of images whose nearest other image is of the same class.

    Attributes:
        recall: Share over all images whose class another image has too.
        by_class: Share over the images of each class.
        counts: Number of images of each class.
        images: Number of images that count.
    """

    recall: float
    by_class: dict[str, float]
    counts: dict[str, int] = field(default_factory=dict)
    images: int = 0


def recall_at_one(vectors: ArrayLike, annotations: Sequence[Annotation | None]) -> RecallAtOne:
    """Return the recall at 1 of *vectors* [N, D], by the cosine; of two equally near images the first counts.

    Args:
        vectors: Embedding of each image.
        annotations: Truth of each image; its first class is the identity. None or no class: the image is left out.

    Raises:
        TruthError: no two images have one class.

    Example:
        >>> one, two = Annotation(classes=("ann",)), Annotation(classes=("bob",))
        >>> recall_at_one([[1, 0], [0.9, 0.1], [0, 1]], [one, one, two]).recall
        1.0
    """
    rows = np.nan_to_num(np.asarray(vectors, np.float64))
    check_lengths(rows, annotations)
    labels: list[Label | None] = [one.labels[0] if one is not None and one.labels else None for one in annotations]
    there = [number for number, label in enumerate(labels) if label is not None]
    names = np.array([str(labels[number]) for number in there])
    often = Counter(names.tolist())
    asked = np.array([often[name] > 1 for name in names.tolist()], bool)
    if not asked.any():
        raise TruthError("no two images have one class by the truth; recall needs several images of a class")
    right = names[_nearest(_normalised(rows[there]))] == names
    by_class = {name: right[names == name] for name in sorted(often) if often[name] > 1}
    return RecallAtOne(
        float(right[asked].mean()),
        {name: float(own.mean()) for name, own in by_class.items()},
        {name: len(own) for name, own in by_class.items()},
        int(asked.sum()),
    )


def _normalised(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))


def _nearest(rows: np.ndarray) -> np.ndarray:
    """Return the index of the nearest other row of each, by the cosine."""
    found = []
    for start in range(0, len(rows), _ROWS):
        cosines = rows[start : start + _ROWS] @ rows.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        found.append(np.argmax(cosines, axis=1))
    return np.concatenate(found)
