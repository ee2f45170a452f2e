"""Ground-truth masks and classes of one image, for a comparison."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.outcome import Outcome
from onnxcam.errors import TruthError
from onnxcam.metrics.truth import Region, Truth, regions
from onnxcam.targets.classification import class_index
from onnxcam.targets.notation import Label

__all__ = ["ClassMask", "ImageObjects"]

_NOTHING = "no energy: the truth has no box and no mask in this image"


class ClassMask(NamedTuple):
    """Ground truth for one class in one image: mask bool [H, W], classes of the image, reason for a missing mask."""

    mask: NDArray[np.bool_] | None
    classes: Collection[int] | None
    why: str


@dataclass(frozen=True)
class ImageObjects:
    """Annotated objects in one image and its labels; ``why`` is the reason if there are none."""

    regions: Mapping[Label | None, Region] = field(default_factory=dict)
    labels: Collection[Label] = ()
    why: str = ""
    index: Callable[[Label, int, Sequence[str] | None], int] = class_index

    @classmethod
    def of(cls, truth: Truth | None, picture: str, size: tuple[int, ...]) -> ImageObjects:
        """Return the objects of an image of *size* (H, W) in *truth*; without truth, no objects."""
        if truth is None:
            return cls()
        try:
            found = truth.required(picture, size)
            return cls(
                regions(found, size),
                found.labels,
                "no energy: the truth has no box and no mask in this image",
                truth.index,
            )
        except TruthError as error:
            return cls(why=f"no energy: {error}")

    def of_outcome(self, outcome: Outcome, count: int | None, names: Sequence[str] | None) -> ClassMask:
        """Return the mask of the class that *outcome* of a classifier explains; of other tasks none."""
        if count is None:
            return ClassMask(None, None, "")
        if outcome.target is None:
            return ClassMask(None, None, self.why)
        return self.of_class(outcome.target, count, names)

    def of_class(self, target: int, count: int, names: Sequence[str] | None) -> ClassMask:
        """Return the mask of class *target*, one of *count* classes with *names*."""
        if not self.labels:
            return ClassMask(self.regions[None].mask, None, "") if self.regions else ClassMask(None, None, self.why)
        indices = {label: self.index(label, count, names) for label in self.labels}
        own = (self.regions.get(label) for label, index in indices.items() if index == target)
        masks = [region.mask for region in own if region is not None]
        if not self.regions:
            return ClassMask(None, set(indices.values()), self.why)
        if not masks:
            return ClassMask(None, set(indices.values()), f"no energy: the truth has no object of class {target}")
        return ClassMask(np.logical_or.reduce(masks), set(indices.values()), "")
