"""Models that put out a grid: the region of a class in a segmentation, a patch of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.structure.layout import GridLayout
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.classes import class_index
from onnxcam.targets.kinds import Class, Patch, Picture, Region, Top, Wish
from onnxcam.targets.parser import quoted
from onnxcam.targets.task import Array, Goal, Look

Mask = NDArray[np.bool_]

_GROUND = frozenset(("background", "__background__"))


@dataclass(frozen=True)
class Segmentation:
    """A segmentation: scores of classes for each pixel or voxel. A class is explained by its mean score over a region
    (Seg-Grad-CAM, arXiv 2002.11434, sums it).
    """

    output: str
    layout: GridLayout
    classes: int
    labels: Sequence[str] | None
    name: str = "a segmentation"
    wishes = (Top, Class, Region)
    examples = "class=3, mask=FILE, class=3 mask=FILE"

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.output)

    def goal(self, wish: Wish, look: Look) -> Goal:
        """Resolve *wish*; TargetError for a class that is nowhere, or a mask that does not fit."""
        (y,) = look.tensors([self.output])
        scores = self.layout.view(y)[0]
        seen = _seen(scores)
        source = wish.mask if isinstance(wish, Region) else None
        mask = None if source is None else _mask(source, look, scores.shape[1:])
        label = wish.label if isinstance(wish, Class | Region) else None
        index = self._largest(seen, mask) if label is None else class_index(label, self.classes, self.labels)
        region = seen == index if mask is None else mask
        if not region.any():
            there = ", ".join(self._name(i) for i in np.unique(seen).tolist() if i >= 0)
            raise TargetError(
                f"class {self._name(index)!r} is nowhere in this picture; the model sees {there or 'none'}"
            )
        weights = np.zeros_like(scores, np.float32)
        weights[index] = region / region.sum()
        words = f"class={quoted(self._name(index))}" + ("" if source is None else f" mask={quoted(source)}")
        note = f"the class that covers most of the picture, {self._name(index)}" if isinstance(wish, Top) else ""
        feed = np.ascontiguousarray(np.moveaxis(weights, 0, self.layout.channel - 1))
        return Goal(self.aim, feed, words, index, self.labels[index] if self.labels else None, note=note)

    def _largest(self, seen: Array, mask: Mask | None) -> int:
        """Return the class that covers most, if there is any beside the background."""
        counts = np.bincount(seen[mask] if mask is not None else seen[seen >= 0], minlength=self.classes)
        if mask is None and self._has_background and counts[1:].any():
            counts[0] = 0
        return int(counts.argmax())

    @property
    def _has_background(self) -> bool:
        return self.classes > 2 if not self.labels else self.labels[0].casefold() in _GROUND

    def _name(self, index: int) -> str:
        return self.labels[index] if self.labels else str(index)


@dataclass(frozen=True)
class Pictures:
    """A model from picture to picture. A patch of what it puts out is explained by its edges: D = Σ |∂y|, the sum of
    the differences between neighbours (local attribution maps, arXiv 2011.11036).
    """

    output: str
    layout: GridLayout
    name: str = "an image-to-image model"
    wishes = (Top, Patch)
    examples = "patch=10,20,90,80"

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.output)

    def goal(self, wish: Wish, look: Look) -> Goal:
        """Resolve *wish*; TargetError for a patch outside the picture."""
        (y,) = look.tensors([self.output])
        picture = self.layout.view(y)[0].astype(np.float64)
        height, width = picture.shape[-2:]
        x1, y1, x2, y2 = map(round, wish.corners) if isinstance(wish, Patch) else _middle(height, width)
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise TargetError(
                f"the patch {x1},{y1},{x2},{y2} does not lie in what the model puts out, {width} × {height} pixels"
            )
        weights = np.zeros_like(picture, np.float32)
        weights[..., y1:y2, x1:x2] = _edges(picture[..., y1:y2, x1:x2])
        feed = np.ascontiguousarray(np.moveaxis(weights, 0, self.layout.channel - 1))
        words = f"patch={x1},{y1},{x2},{y2}"
        note = "" if isinstance(wish, Patch) else f"the middle of what the model puts out, {words}"
        h, w = look.size[-2:]
        box = look.to_picture((x1 * w / width, y1 * h / height, x2 * w / width, y2 * h / height))
        return Goal(self.aim, feed, words, box=box, note=note)


def _edges(patch: Array) -> Array:
    """Return ∂D/∂y of a patch [C, …, h, w]; D is Σ y · ∂D/∂y as well, since it grows with y."""
    slope = np.zeros_like(patch)
    for axis in range(1, patch.ndim):
        steps = np.sign(np.diff(patch, axis=axis))
        before, after = [(0, 0)] * patch.ndim, [(0, 0)] * patch.ndim
        before[axis], after[axis] = (1, 0), (0, 1)
        slope += np.pad(steps, before) - np.pad(steps, after)
    return slope


def _middle(height: int, width: int) -> tuple[int, int, int, int]:
    return width * 3 // 8, height * 3 // 8, max(width * 5 // 8, 1), max(height * 5 // 8, 1)


def _seen(scores: Array) -> Array:
    """Return the class of each cell of *scores* [C, …]; of a single one 0 where it is likely, else −1."""
    if len(scores) > 1:
        return np.asarray(scores.argmax(axis=0))
    probable = scores.min() >= 0 and scores.max() <= 1
    return np.where(scores[0] > (0.5 if probable else 0), 0, -1)


def _mask(source: Picture, look: Look, size: Sequence[int]) -> Mask:
    """Return the mask *source*, of the picture's size, on a grid of *size* that lies over the picture's tensor."""
    mask = look.mask(source)
    return mask[
        np.ix_(*(_nearest(places, length) for places, length in zip(look.places(size), mask.shape, strict=True)))
    ]


def _nearest(places: Array, length: int) -> NDArray[np.int64]:
    return np.clip(np.floor(places), 0, length - 1).astype(np.int64)
