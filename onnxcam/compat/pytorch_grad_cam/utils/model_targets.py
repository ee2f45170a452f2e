"""pytorch-grad-cam's targets: functions that return onnxcam's, which are data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxcam.compat.explainers import target_of
from onnxcam.errors import TargetError
from onnxcam.targets.kinds import Against, Box, Class, ClassRegion

__all__ = [
    "BinaryClassifierOutputTarget",
    "ClassifierOutputTarget",
    "FasterRCNNBoxScoreTarget",
    "RawScoresOutputTarget",
    "SemanticSegmentationTarget",
]


def ClassifierOutputTarget(category: int | str) -> Class:
    """Return the target of a class, an index or a name: its score before softmax; TargetError for anything else."""
    return Class(_class_label(category))


def BinaryClassifierOutputTarget(category: int) -> Class | Against:
    """Return the target of a model with one score: the score for category 1, its negative for 0.

    TargetError for another category.
    """
    if category not in (0, 1):
        raise TargetError(f"the category of a binary classifier is {category!r}; give 1, or 0 for its negative")
    return Class(0) if category == 1 else Against(0)


def RawScoresOutputTarget() -> Class:
    """Return the target of a model with one score."""
    return Class(0)


def SemanticSegmentationTarget(category: int, mask: Any) -> ClassRegion:
    """Return the target of a class over *mask* [H, W]: its mean score there, where the peer takes the sum."""
    return ClassRegion(_class_label(category), (np.asarray(mask) > 0).astype(np.uint8) * 255)


def FasterRCNNBoxScoreTarget(labels: Sequence[Any], bounding_boxes: Sequence[Any], iou_threshold: float = 0.5) -> Box:
    """Return the target of one box x1, y1, x2, y2 with its label; TargetError for several.

    *iou_threshold* is not used: the detection is the one that overlaps most.
    """
    if len(bounding_boxes) != 1 or len(labels) != 1:
        raise TargetError(f"a map explains one box, not {len(bounding_boxes)}; make a target of each, with its label")
    x1, y1, x2, y2 = map(float, np.asarray(bounding_boxes[0]).reshape(4))
    return Box((x1, y1, x2, y2), _class_label(labels[0]))


def _class_label(category: Any) -> int | str:
    """Return *category*, an index of any integer type or a name; TargetError for anything else."""
    found = target_of(category)
    if not isinstance(found, int | str):
        raise TargetError(f"the category {category!r} is no class; give its index, such as 281, or its name")
    return found
