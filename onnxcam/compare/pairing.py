"""Pair what two recordings explain in one image: the same class, the object at the same place, the same target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from onnxcam.compare.outcome import ObjectMap
from onnxcam.targets.detection import SAME_OBJECT
from onnxcam.targets.detectors.boxes import overlaps

__all__ = ["OTHER_THINGS", "Objects", "paired"]

OTHER_THINGS = "the candidate explains other things than the reference"
"""Note of an image in which nothing is paired."""


Objects: TypeAlias = Sequence[ObjectMap]


def paired(reference: Objects, candidate: Objects, in_order: bool) -> list[tuple[ObjectMap, ObjectMap]]:
    """Return what both explain, in the order of the reference.

    If *in_order*, both explain the same things in the same order.
    """
    if in_order and len(reference) == len(candidate):
        return list(zip(reference, candidate, strict=True))
    pairs, left = [], [*candidate]
    for one in reference:
        number = _same(one, left)
        if number is not None:
            pairs.append((one, left.pop(number)))
    return pairs


def _same(one: ObjectMap, others: Objects) -> int | None:
    """Return the number of the thing in *others* that is the same as *one*; None if there is none."""
    values = [_likeness(one, other) for other in others]
    best = max(range(len(others)), key=values.__getitem__, default=None)
    return None if best is None or values[best] < SAME_OBJECT else best


def _likeness(one: ObjectMap, other: ObjectMap) -> float:
    """Return 1 for the same thing and 0 for another; for boxes of one class their intersection over union."""
    if one.box is not None and other.box is not None and one.index == other.index:
        return float(overlaps(np.array(one.box), np.array(other.box)))
    if one.box is not None or other.box is not None:
        return 0.0
    return float(one.target == other.target or (one.index is not None and one.index == other.index))
