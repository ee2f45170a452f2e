"""Conventions of boxes: the order of their numbers, and their unit; which one a set of boxes follows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnxcam.errors import TargetError
from onnxcam.metadata.reading import Part
from onnxcam.targets.goal import Array

__all__ = [
    "FORMS",
    "VALID",
    "BoxConvention",
    "are_visible",
    "fit",
    "inside",
    "nowhere",
    "overlaps",
    "settled",
    "upright",
    "valid",
    "written",
]

_MANY = 16
"""From so many boxes on, their distribution says something."""
_RELATIVE = 2
"""Boxes relative to the image's size have no larger values."""
VALID = 0.8
"""Boxes follow a convention if it makes a valid box of this share of them."""
_SAME = 0.05
"""Shares that differ by less are equal."""


def _centred(boxes: Array) -> Array:
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


FORMS: Mapping[str, tuple[str, Callable[[Array], Array]]] = {
    "xyxy": ("corners x1 y1 x2 y2", lambda boxes: boxes),
    "yxyx": ("corners y1 x1 y2 x2", lambda boxes: boxes[:, [1, 0, 3, 2]]),
    "cxcywh": ("centre and size cx cy w h", _centred),
    "xywh": ("corner and size x y w h", lambda boxes: np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)),
}
"""Forms of boxes [B, 4] by name: in words, and the function to corners x1, y1, x2, y2 in the same unit."""


@dataclass(frozen=True)
class BoxConvention:
    """How boxes [B, 4] are written.

    Attributes:
        forms: Names in `FORMS`, the likeliest first; the numbers decide between several. Empty: offsets from priors
            that the file does not hold.
        relative: The unit is the image's size, not a pixel; None: decided by the numbers.
        source: How the convention is known, a key of `onnxcam.metadata.reading.SOURCES`.
        sorted: The candidates are in the order of a grid, row by row.
        any_corner: Any two opposite corners, as NonMaxSuppression takes them.
    """

    forms: tuple[str, ...] = ("xyxy", "cxcywh", "xywh")
    relative: bool | None = None
    source: str = "shapes"
    sorted: bool = True
    any_corner: bool = False

    def corners(self, boxes: Array, size: tuple[int, ...]) -> Array:
        """Return the corners of *boxes* [B, 4] in pixels; NaN for boxes of no known convention."""
        boxes = boxes.astype(np.float64).reshape(-1, 4)
        one = self if len(self.forms) == 1 and self.relative is not None else fit(boxes, size, self)
        if one is None or not one.forms:
            return nowhere(len(boxes))
        unit = _pixels(size) if one.relative else np.ones(4)
        found = FORMS[one.forms[0]][1](boxes) * unit
        if not self.any_corner:
            return found
        return np.concatenate([np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])], 1)

    def decoded(self, boxes: Array, size: tuple[int, ...], candidate: int) -> Callable[[Array], Array]:
        """Return the function that decodes variants [M, 4] of one of the *boxes*, as `corners` decodes all."""
        one = fit(boxes.astype(np.float64), size, self) or self
        return lambda variants: one.corners(variants, size)

    def part(self, *outputs: str) -> Part:
        """Return the part of the reading for boxes in *outputs*."""
        named = ", ".join(map(repr, outputs))
        if not self.forms:
            return Part("boxes", f"{named}, offsets from unknown anchors", self.source)
        unit = {None: "in pixels or relative", True: "relative to the image", False: "in pixels"}[self.relative]
        source = self.source if len(self.forms) == 1 else "guess"
        return Part("boxes", f"{named}, {FORMS[self.forms[0]][0]} {unit}", source)


def nowhere(count: int) -> Array:
    """Return the corners of *count* boxes of unknown place."""
    return np.full((count, 4), np.nan)


def written(text: str) -> BoxConvention:
    """Return the convention that a user or card names: a form, and ``pixels`` or ``relative``; else TargetError."""
    words = re.split(r"[\s,;/+-]+", text.strip().lower())
    forms = [word for word in words if word in FORMS]
    units = [word for word in words if word in ("pixels", "relative")]
    if len(forms) != 1 or len(units) > 1 or len(forms) + len(units) != len(words):
        raise TargetError(
            f"{text!r} is no convention of boxes; take one of {', '.join(FORMS)}, and after a comma pixels or relative"
        )
    return BoxConvention((forms[0],), units[0] == "relative" if units else None)


def settled(convention: BoxConvention, samples: list[Array], size: tuple[int, ...]) -> BoxConvention:
    """Return the one of several conventions that *samples*, boxes [B, 4] of a few images, follow; else *convention*."""
    if len(convention.forms) == 1 and convention.relative is not None:
        return convention
    rows = [sample.astype(np.float64).reshape(-1, 4) for sample in samples]
    if sum(map(len, rows)) < _MANY or any(len(row) < 2 for row in rows):
        return convention
    found = [fit(row, size, convention) for row in rows]
    if None in found:
        return replace(convention, forms=(), source="run")
    known = [one for one in found if one is not None]
    return known[0] if len({(one.forms, one.relative) for one in known}) == 1 else convention


def fit(boxes: Array, size: tuple[int, ...], convention: BoxConvention) -> BoxConvention | None:
    """Return the convention that *boxes* [B, 4] follow, of those that *convention* allows; None for none.

    A single form is not doubted.
    """
    rows = boxes[np.isfinite(boxes).all(1) & np.abs(boxes).any(1)]
    if not len(rows) or not convention.forms:
        return convention if len(boxes) < _MANY else None
    largest, many, doubted = np.abs(rows).max(), len(rows) >= _MANY, len(convention.forms) > 1
    relative = bool(largest <= _RELATIVE) if convention.relative is None else convention.relative
    if doubted and many and not relative and largest < min(size) / 8:
        return None
    unit = _pixels(size) if relative else np.ones(4)
    shares = {form: valid(FORMS[form][1](rows) * unit, size, convention.any_corner) for form in convention.forms}
    if len(shares) > 1 and convention.sorted and many:
        shares = {form: share for form, share in shares.items() if form not in _transposed(rows)} or shares
    best = max(shares.values())
    if doubted and many and best < VALID:
        return None
    form = next(form for form, share in shares.items() if share >= best - _SAME)
    return replace(
        convention, forms=(form,), relative=relative, source="run" if doubted and many else convention.source
    )


def valid(corners: Array, size: tuple[int, ...], any_corner: bool = False) -> float:
    """Return the share of valid boxes: two corners in order, at a place in the picture."""
    sides = corners[:, 2:] - corners[:, :2]
    extent, middle = _pixels(size)[:2], (corners[:, :2] + corners[:, 2:]) / 2
    ordered = np.ones(len(corners), bool) if any_corner else (sides > 0).all(1)
    inside = ((middle >= -0.1 * extent) & (middle <= 1.1 * extent)).all(1) & (np.abs(sides) < 2.5 * extent).all(1)
    return float((ordered & inside).mean())


def _transposed(rows: Array) -> tuple[str, ...]:
    """Return the forms that the order of a grid excludes: from a candidate to the next, x changes more than y."""
    steps = np.abs(np.diff(rows[:, :2], axis=0))
    first, second = steps.sum(0)
    if not np.median(steps, axis=0).any():
        return ()
    if second > 1.5 * first:
        return "xyxy", "xywh", "cxcywh"
    return ("yxyx",) if first > 1.5 * second else ()


def _pixels(size: tuple[int, ...]) -> Array:
    height, width = size
    return np.array([width, height, width, height], np.float64)


def overlaps(boxes: Array, others: Array) -> Array:
    """Return the intersection over union of *boxes* [..., 4] with *others* [..., 4]; 0 where a place is unknown."""
    a, b = np.nan_to_num(boxes), np.nan_to_num(others)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0, None).prod(-1)
    areas = [np.clip(one[..., 2:] - one[..., :2], 0, None).prod(-1) for one in (a, b)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, 1e-9))


def upright(corners: Array, angles: Array) -> Array:
    """Return the upright boxes around boxes that are rotated by *angles*, in radians."""
    middle, half = (corners[:, :2] + corners[:, 2:]) / 2, (corners[:, 2:] - corners[:, :2]) / 2
    cos, sin = np.abs(np.cos(angles))[:, None], np.abs(np.sin(angles))[:, None]
    reach = half * cos + half[:, ::-1] * sin
    return np.concatenate([middle - reach, middle + reach], axis=1)


def are_visible(corners: Array, size: tuple[int, ...]) -> Array:
    """Return which boxes [B, 4] may be shown: not turned over, inside the picture, wider than a pixel."""
    sides, (height, width) = corners[:, 2:] - corners[:, :2], size
    inside = np.minimum(corners[:, 2:], [width, height]) - np.maximum(corners[:, :2], 0)
    return np.asarray((sides > 1).all(1) & (inside > 1).all(1))


def inside(corners: Array, size: tuple[int, ...]) -> Array:
    """Return the mask [height, width] of the box *corners*."""
    x1, y1, x2, y2 = corners
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    return np.outer((rows >= y1) & (rows <= y2), (columns >= x1) & (columns <= x2))
