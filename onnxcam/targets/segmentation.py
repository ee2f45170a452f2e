"""Segmentation: a class over the region that the model gives it, or over a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.classification import class_index
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import channels, grids
from onnxcam.targets.kinds import Class, ClassRegion, Top
from onnxcam.targets.notation import ImageSource, Label, quoted
from onnxcam.targets.registry import Task, resolves

__all__ = ["Mask", "Segmentation"]

Mask = NDArray[np.bool_]

_BACKGROUND = frozenset(("background", "__background__"))
_COARSEST = 8
"""A segmentation has at least one cell for this many pixels along an axis."""


@dataclass(frozen=True)
class Segmentation(Task):
    """A segmentation: scores [N, classes, …] of each pixel or voxel. A class is explained by its mean score over a
    region (Seg-Grad-CAM, arXiv 2002.11434, takes the sum).
    """

    output: str
    layout: GridLayout
    classes: int
    labels: Sequence[str] | None
    name: str = "a segmentation"
    cards = ("segmentation",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield a segmentation for each grid of scores: fine, and of another number of channels than the image."""
        for y, layout, count in grids(evidence.graph, evidence.image):
            if known or (count != channels(evidence.image) and _is_fine(layout.size(y), evidence.image)):
                yield cls(y.name or "", layout, count, evidence.names.of(count))

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.output)

    @resolves(ClassRegion)
    def region(self, target: ClassRegion, look: Look) -> Goal:
        """The mean score of a class over a mask, or where it is predicted; without a class, of the largest one."""
        return self._goal(target.label, target.mask, look)

    @resolves(Class)
    def one(self, target: Class, look: Look) -> Goal:
        """The mean score of a class where it is predicted."""
        return self._goal(target.label, None, look)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The mean score of the class that covers most of the image."""
        goal = self._goal(None, None, look)
        return replace(goal, note=f"the class that covers most of the image, {self._name(goal.index or 0)}")

    def _goal(self, label: Label | None, source: ImageSource | None, look: Look) -> Goal:
        """Return the mean score over a region; TargetError for a class that is nowhere, or a mask of another size."""
        (y,) = look.tensors([self.output])
        scores = self.layout.view(y)[0]
        seen = _seen(scores)
        mask = None if source is None else look.sampled(look.mask(source), scores.shape[1:], self.output, self.layout)
        index = self._largest(seen, mask) if label is None else class_index(label, self.classes, self.labels)
        region = seen == index if mask is None else mask
        if not region.any():
            there = ", ".join(self._name(i) for i in np.unique(seen).tolist() if i >= 0)
            raise TargetError(f"class {self._name(index)!r} is nowhere in this image; the model sees {there or 'none'}")
        weights = np.zeros_like(scores, np.float32)
        weights[index] = region / region.sum()
        words = f"class={quoted(self._name(index))}" + ("" if source is None else f" mask={quoted(source)}")
        feed = np.ascontiguousarray(np.moveaxis(weights, 0, self.layout.channel - 1))
        return Goal(self.aim, feed, words, index, self.labels[index] if self.labels else None)

    def _largest(self, seen: Array, mask: Mask | None) -> int:
        """Return the class that covers most cells; the background only if there is no other."""
        counts = np.bincount(seen[mask] if mask is not None else seen[seen >= 0], minlength=self.classes)
        if mask is None and self._has_background and counts[1:].any():
            counts[0] = 0
        return int(counts.argmax())

    @property
    def _has_background(self) -> bool:
        return self.classes > 2 if not self.labels else self.labels[0].casefold() in _BACKGROUND

    def _name(self, index: int) -> str:
        return self.labels[index] if self.labels else str(index)


def _is_fine(size: Sequence[object], image: ir.Value) -> bool:
    own = picture_layout(image)
    pairs = zip(size, own.size(image) if own is not None else (), strict=False)
    return all(a * _COARSEST >= b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def _seen(scores: Array) -> Array:
    """Return the class of each cell of *scores* [C, …]; of a single class 0 where it is likely, else −1."""
    if len(scores) > 1:
        return np.asarray(scores.argmax(axis=0))
    probable = scores.min() >= 0 and scores.max() <= 1
    return np.where(scores[0] > (0.5 if probable else 0), 0, -1)
