"""The region of each class in one image, by the truth: of a mask of classes, or of the masks and boxes of objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.metrics.truth.annotation import Annotation, Object
from onnxcam.metrics.truth.geometry import BoolMask, filled
from onnxcam.targets.notation import Label

__all__ = ["ClassRegions", "class_regions"]

_Index: TypeAlias = "Callable[[Label | None], int]"


@dataclass(frozen=True)
class ClassRegions:
    """Regions of classes, bool [H, W] by index, and the pixels whose classes are known, bool [H, W]."""

    regions: dict[int, BoolMask]
    known: BoolMask


def class_regions(
    annotation: Annotation, size: tuple[int, ...], index: _Index, rest: int | None = None, *, whole: bool = False
) -> ClassRegions | None:
    """Return the regions in an image of *size* (H, W); None if the truth has neither a mask nor objects with a place.

    Args:
        annotation: Truth of the image.
        size: Height and width of the image.
        index: Function from a label to the index of the class, see `onnxcam.metrics.accuracy.class_indices`.
        rest: Class of the pixels outside of all objects, such as the background; None if they have none.
        whole: Whether pixels outside of all objects are known to have no class, if *rest* is None.
    """
    if annotation.mask is not None:
        known = annotation.mask >= 0
        present = np.unique(annotation.mask[known]).tolist()
        return ClassRegions({one: annotation.mask == one for one in present}, known)
    own = [(index(one.label), _mask(one, size)) for one in annotation.objects if one.box or one.mask]
    if not own:
        return None
    regions: dict[int, BoolMask] = {}
    for one, mask in own:
        regions[one] = regions[one] | mask if one in regions else mask
    return _with_rest(regions, rest, whole)


def _with_rest(regions: dict[int, BoolMask], rest: int | None, whole: bool) -> ClassRegions:
    inside = np.logical_or.reduce([*regions.values()])
    if rest is not None:
        regions[rest] = regions.get(rest, np.zeros_like(inside)) | ~inside
    return ClassRegions(regions, np.ones_like(inside) if whole or rest is not None else inside)


def _mask(one: Object, size: tuple[int, ...]) -> NDArray[np.bool_]:
    return one.mask() if one.mask is not None else filled([one.box or (*[0] * len(size), *size[::-1])], size)
