"""Image comparisons ↔ JSON, for the lines of a journal. Damaged JSON raises ValueError."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.map_comparison import Kept, ObjectComparison
from onnxcam.compare.outcome import Answer

__all__ = ["read", "written"]

_LONGEST = 4096  # maximum side of a map in cells; stored maps are far smaller
_MOST = _LONGEST**2
_AXES = (2, 3)
"""How many axes of space there may be; a signal has a height of 1."""


def written(pair: ImageComparison) -> dict[str, Any]:
    """Return *pair* as a JSON object."""
    plain = {name: getattr(pair, name) for name in ImageComparison.__dataclass_fields__}
    answers = [asdict(answer) for answer in pair.answers]
    objects = [{**vars(one), "maps": [_packed(heat) for heat in one.maps]} for one in pair.objects]
    return {**plain, "answers": answers, "objects": objects}


def read(entry: Mapping[str, Any]) -> ImageComparison:
    """Return the image comparison in *entry*, the inverse of `written`; raise ValueError if it is invalid."""
    try:
        found = _checked(entry, ImageComparison, _IMAGE)
        first, second = (Answer(**_checked(answer, Answer, _ANSWER)) for answer in found["answers"])
        objects = tuple(_object(one) for one in found["objects"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{error}") from None
    lists = {"size": tuple(found["size"]), "notes": tuple(found["notes"])}
    return ImageComparison(**{**found, **lists, "answers": (first, second), "objects": objects})


def _object(entry: Mapping[str, Any]) -> ObjectComparison:
    found = _checked(entry, ObjectComparison, _OBJECT)
    boxes = tuple(None if box is None else tuple(box) for box in found["boxes"])
    lists = {"scores": tuple(found["scores"]), "notes": tuple(found["notes"]), "boxes": boxes}
    return ObjectComparison(**{**found, **lists, "maps": tuple(_unpacked(heat) for heat in found["maps"])})


def _checked(entry: Mapping[str, Any], type_: type, checks: Mapping[str, Callable[[Any], bool]]) -> dict[str, Any]:
    """Return the fields of *type_* in *entry*; raise ValueError for one that fails its check."""
    found = {name: entry[name] for name in type_.__dataclass_fields__}  # type: ignore[attr-defined]
    wrong = [name for name, holds in checks.items() if not holds(found[name])]
    if wrong:
        raise ValueError(f"{wrong[0]} is none")
    return found


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _packed(heat: Kept) -> dict[str, Any] | None:
    """Return a map quantised to 255 steps and compressed."""
    if heat is None:
        return None
    steps = np.round(255 * heat.astype(np.float32)).astype(np.uint8)
    return {"shape": heat.shape, "zlib": base64.b64encode(zlib.compress(steps.tobytes(), 1)).decode()}


def _unpacked(packed: Any) -> Kept:
    """Return the map, the inverse of `_packed`; raise ValueError if it is invalid."""
    if packed is None:
        return None
    try:
        shape = packed["shape"]
        if not (len(shape) in _AXES and all(0 < x <= _LONGEST for x in shape) and math.prod(shape) <= _MOST):
            raise ValueError(f"a map of {shape}")
        data = zlib.decompressobj().decompress(base64.b64decode(packed["zlib"]), math.prod(shape) + 1)
        steps = np.frombuffer(data, np.uint8).reshape(shape)
    except (KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"{error}") from None
    return (steps / np.float32(255)).astype(np.float16)


_IMAGE: Mapping[str, Callable[[Any], bool]] = {
    "picture": lambda x: isinstance(x, str),
    "sha256": lambda x: isinstance(x, str),
    "size": lambda x: isinstance(x, list) and len(x) in _AXES and all(_is_whole(length) and length > 0 for length in x),
    "answers": lambda x: _is_pair(x),
    "objects": lambda x: isinstance(x, list),
    "values": lambda x: _are_values(x),
    "notes": lambda x: _are_texts(x),
    "details": lambda x: isinstance(x, dict),
}
_ANSWER: Mapping[str, Callable[[Any], bool]] = {
    "words": lambda x: isinstance(x, str),
    "confidence": lambda x: x is None or _is_number(x),
    "data": lambda x: isinstance(x, dict),
}
_OBJECT: Mapping[str, Callable[[Any], bool]] = {
    "target": lambda x: isinstance(x, str),
    "index": lambda x: x is None or _is_whole(x),
    "scores": lambda x: _is_pair(x) and all(score is None or _is_number(score) for score in x),
    "boxes": lambda x: _is_pair(x) and all(box is None or _is_box(box) for box in x),
    "values": lambda x: _are_values(x),
    "notes": lambda x: _are_texts(x),
    "maps": lambda x: _is_pair(x),
}


def _are_values(found: Any) -> bool:
    known = isinstance(found, dict) and all(name in AGREEMENT_METRICS for name in found)
    return known and all(_is_number(value) for value in found.values())


def _are_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(text, str) for text in found)


def _is_box(found: Any) -> bool:
    return isinstance(found, list) and len(found) == 4 and all(_is_number(x) for x in found)
