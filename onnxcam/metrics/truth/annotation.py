"""What the truth says about one image: objects, classes, a mask of classes, text, numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.metrics.truth.geometry import BoolMask, boxes_around, filled
from onnxcam.targets.notation import Corners, Label

__all__ = ["Annotation", "LazyMask", "Object", "Region", "TrueKeypoint", "regions"]

LazyMask: TypeAlias = Callable[[], BoolMask]
"""Function that returns the mask of an object, bool [H, W]."""
TrueKeypoint: TypeAlias = tuple[float, float, int]
"""A keypoint: x and y in pixels, and visibility: 0 not labelled, 1 hidden, 2 visible."""


@dataclass(frozen=True)
class Object:
    """One object in an image.

    Attributes:
        label: Name or index of the class; None if the truth names no class.
        box: x1, y1, x2, y2 in pixels of the image, x2 and y2 exclusive; None for a class in a mask of classes.
        mask: Function that decodes the mask, bool [H, W]; None if there is no mask.
        keypoints: (x, y, visibility) of each keypoint.
        crowd: Whether the box or mask covers a group of objects.
        difficult: Whether the truth marks the object as difficult; mAP ignores it.
        area: Area in pixels as the truth gives it; None: the area of the box.
    """

    label: Label | None
    box: Corners | None = None
    mask: LazyMask | None = None
    keypoints: tuple[TrueKeypoint, ...] = ()
    crowd: bool = False
    difficult: bool = False
    area: float | None = None


@dataclass(frozen=True)
class Annotation:
    """Truth of one image.

    Attributes:
        objects: Objects in the image.
        classes: Labels of the whole image.
        mask: Index of the class of each pixel, int [H, W], of a volume [D, H, W]; −1 is unlabelled. None if there is no
            mask of classes.
        text: Text that is in the image.
        numbers: Numbers of the image, for regression.
    """

    objects: tuple[Object, ...] = ()
    classes: tuple[Label, ...] = ()
    mask: NDArray[np.int64] | None = None
    text: str | None = None
    numbers: tuple[float, ...] = ()

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels of the image and of its objects, each once."""
        own = (one.label for one in self.objects if one.label is not None)
        return tuple(dict.fromkeys([*self.classes, *own]))


@dataclass(frozen=True)
class Region:
    """Objects of one class in one image: a mask bool [H, W], and boxes (x1, y1, x2, y2) in pixels.

    In a volume the mask is bool [D, H, W], and the boxes have three starts and three ends, of the last axis first.
    """

    mask: BoolMask
    boxes: tuple[tuple[float, ...], ...]


def regions(annotation: Annotation, size: tuple[int, ...]) -> dict[Label | None, Region]:
    """Return the region of each class in an image of *size* (H, W); None is an unknown class."""
    found: dict[Label | None, list[Object]] = {}
    for one in annotation.objects:
        if one.box is not None or one.mask is not None:
            found.setdefault(one.label, []).append(one)
    return {label: _joined([_region(one, size) for one in own]) for label, own in found.items()}


def _region(one: Object, size: tuple[int, ...]) -> Region:
    boxes: tuple[tuple[float, ...], ...] = () if one.box is None else (one.box,)
    mask = filled(boxes, size) if one.mask is None else one.mask()
    return Region(mask, boxes or boxes_around(mask))


def _joined(own: list[Region]) -> Region:
    return Region(np.logical_or.reduce([one.mask for one in own]), tuple(box for one in own for box in one.boxes))
