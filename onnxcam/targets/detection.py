"""Detectors: the score of one detection, named by its place or its rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from onnxcam.errors import TargetError
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.classes import class_index
from onnxcam.targets.heads import Candidates, Head
from onnxcam.targets.kinds import Box, Class, Detection, Label, Top, Wish
from onnxcam.targets.parser import quoted
from onnxcam.targets.task import Array, Goal, Look, ruler

LEAST = 0.25  # the probability from which a candidate is a detection
SAME = 0.5  # the overlap from which two boxes are of one object
NEAR = 0.1  # the overlap under which a box matches nothing

Found: TypeAlias = "tuple[int, int]"  # the candidate and its class


@dataclass(frozen=True)
class Detections:
    """A detector."""

    head: Head
    labels: Sequence[str] | None
    name: str = "a detector"
    wishes = (Top, Box, Detection, Class)
    examples = "detection=0, box=10,20,90,80, box=10,20,90,80 class=dog"

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the tensor of scores."""
        return self.head.aim

    def goal(self, wish: Wish, look: Look) -> Goal:
        """Resolve *wish*; TargetError where there is no such detection."""
        seen = self.head.read(look.tensors(self.head.tensors), look.size)
        note = ""
        match wish:
            case Box(corners, label):
                found = self._at(seen, look.to_tensor(corners), self._class(label, seen), look)
            case Detection(number, label):
                found = self._ranked(seen, number, self._class(label, seen), look)
            case Class(label):
                found = self._ranked(seen, 0, self._class(label, seen), look)
            case _:
                found = self._ranked(seen, 0, None, look)
                note = f"the best detection: {self._said(seen, found, look)}"
        candidate, category = found
        box = look.to_picture(seen.corners[candidate])
        label = self._label(category)
        return Goal(
            self.aim,
            seen.weights(candidate, category).astype(np.float32),
            f"box={ruler(box)} class={quoted(label or category)}",
            category,
            label,
            float(seen.scores[candidate, category]),
            box=box,
            region=_inside(seen.corners[candidate], look.size),
            note=note,
        )

    def ranked(self, look: Look) -> list[Wish]:
        """Return the detections, the best first."""
        seen = self.head.read(look.tensors(self.head.tensors), look.size)
        return [Detection(number) for number in range(len(detections(seen)))]

    def _at(self, seen: Candidates, corners: Sequence[float], category: int | None, look: Look) -> Found:
        """Return the candidate of the best score among those that overlap *corners*, or else the nearest one."""
        scores = _of_class(seen.scores, category)
        overlaps = np.where(scores.max(axis=1, initial=0) > 0, _overlap(seen.corners, np.asarray(corners)), 0)
        best = float(overlaps.max(initial=0))
        if best < NEAR:
            what = "" if category is None else f" as class {self._label(category) or category!r}"
            raise TargetError(
                f"the box {ruler(look.to_picture(corners))} matches nothing that the model proposes{what}; "
                f"it detects {self._all(seen, look)}"
            )
        close = np.where(overlaps >= min(SAME, best), scores.max(axis=1), -1)
        candidate = int(np.argmax(close))
        return candidate, int(np.argmax(scores[candidate]))

    def _ranked(self, seen: Candidates, number: int, category: int | None, look: Look) -> Found:
        found = detections(seen, category)
        if number >= len(found):
            what = "objects" if category is None else f"objects of class {self._label(category) or category!r}"
            raise TargetError(
                f"there is no detection {number}: the model detects {len(found)} {what} in this picture (counted from "
                f"0, from {LEAST:.0%} on); in all {self._all(seen, look)}. A box=x1,y1,x2,y2 may name any place"
            )
        return found[number]

    def _class(self, label: Label | None, seen: Candidates) -> int | None:
        if label is None or (isinstance(label, int) and label >= 0 and not seen.complete):
            return label
        names = self.labels if self.labels and len(self.labels) >= seen.scores.shape[1] else None
        return class_index(label, len(names) if names else seen.scores.shape[1], names or self.labels)

    def _label(self, category: int) -> str | None:
        return self.labels[category] if self.labels and category < len(self.labels) else None

    def _said(self, seen: Candidates, found: Found, look: Look) -> str:
        candidate, category = found
        name = self._label(category) or f"class {category}"
        return f"{name} {seen.scores[found]:.0%} at {ruler(look.to_picture(seen.corners[candidate]))}"

    def _all(self, seen: Candidates, look: Look) -> str:
        return "; ".join(self._said(seen, found, look) for found in detections(seen, None)[:5]) or "nothing"


def detections(seen: Candidates, category: int | None = None) -> list[Found]:
    """Return the candidates that are detections, the best first; of those that overlap only the best of a class."""
    import cv2

    scores = _of_class(seen.scores, category)
    best = scores.argmax(axis=1)
    tops = scores.max(axis=1)
    x1, y1, x2, y2 = seen.corners.T
    boxes = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)
    likely = np.flatnonzero(tops >= LEAST)
    kept = cv2.dnn.NMSBoxesBatched(boxes[likely].tolist(), tops[likely].tolist(), best[likely].tolist(), LEAST, SAME)
    order = sorted((int(likely[i]) for i in np.asarray(kept, int).reshape(-1)), key=lambda i: -tops[i])
    return [(i, int(best[i])) for i in order]


def _of_class(scores: Array, category: int | None) -> Array:
    if category is None:
        return scores
    alone = np.zeros_like(scores)
    if category < scores.shape[1]:
        alone[:, category] = scores[:, category]
    return alone


def _overlap(boxes: Array, box: Array) -> Array:
    """Return the intersection over union of each of *boxes* [B, 4] with *box* [4]."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    return shared / np.maximum(areas + (box[2:] - box[:2]).prod() - shared, 1e-9)


def _inside(corners: Array, size: tuple[int, ...]) -> Array:
    """Return the mask [height, width] of the box *corners*."""
    x1, y1, x2, y2 = corners
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    return np.outer((rows >= y1) & (rows <= y2), (columns >= x1) & (columns <= x2))
