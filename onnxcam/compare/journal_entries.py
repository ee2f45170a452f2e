"""Image comparisons ↔ JSON, for the lines of a journal. Damaged JSON raises ValueError."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxcam.compare.image_comparison import AGREEMENT_METRICS, ImageComparison, Kept

__all__ = ["read", "written"]

_LONGEST = 4096  # maximum side of a map in cells; stored maps are far smaller


def written(pair: ImageComparison) -> dict[str, Any]:
    """Return *pair* as a JSON object."""
    plain = {name: getattr(pair, name) for name in ImageComparison.__dataclass_fields__ if name != "maps"}
    return {**plain, "maps": [_packed(heat) for heat in pair.maps]}


def read(entry: Mapping[str, Any]) -> ImageComparison:
    """Return the image comparison in *entry*, the inverse of `written`; raise ValueError if it is invalid."""
    try:
        found = {name: entry[name] for name in ImageComparison.__dataclass_fields__}
        wrong = [name for name, holds in _checks(found).items() if not holds]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{error}") from None
    if wrong:
        raise ValueError(f"{wrong[0]} is none")
    lists = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    return ImageComparison(**{**found, **lists, "maps": tuple(_unpacked(heat) for heat in found["maps"])})


def _checks(found: Mapping[str, Any]) -> dict[str, bool]:
    """Return for each field whether it is valid."""
    return {
        "picture": isinstance(found["picture"], str),
        "sha256": isinstance(found["sha256"], str),
        "size": _is_pair(found["size"]) and all(_is_whole(x) and x > 0 for x in found["size"]),
        "target": _is_whole(found["target"]),
        "tops": _is_pair(found["tops"]) and all(map(_is_whole, found["tops"])),
        "confidence": _is_pair(found["confidence"]) and all(x is None or _is_number(x) for x in found["confidence"]),
        "values": isinstance(found["values"], dict)
        and all(name in AGREEMENT_METRICS and _is_number(value) for name, value in found["values"].items()),
        "notes": isinstance(found["notes"], list) and all(isinstance(note, str) for note in found["notes"]),
        "maps": _is_pair(found["maps"]),
    }


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
        height, width = (x for x in packed["shape"] if 0 < x <= _LONGEST)
        data = zlib.decompressobj().decompress(base64.b64decode(packed["zlib"]), height * width + 1)
        steps = np.frombuffer(data, np.uint8).reshape(height, width)
    except (KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"{error}") from None
    return (steps / np.float32(255)).astype(np.float16)
