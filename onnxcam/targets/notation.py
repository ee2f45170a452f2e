"""Values in a target's words: how each is read, and how it is written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import TargetError, nearest
from onnxcam.metadata.labels import folded
from onnxcam.numbers import parse_float
from onnxcam.text import pointed

__all__ = [
    "INDEX",
    "NUMBER",
    "Corners",
    "ImageSource",
    "Label",
    "corners",
    "count",
    "fail",
    "label",
    "number",
    "one_of",
    "quoted",
    "rectangle",
    "text",
]

Label: TypeAlias = "int | str"
"""A class: its index or its name."""
ImageSource: TypeAlias = "str | os.PathLike[str] | NDArray[Any]"
"""An image: a file or an array."""
Corners: TypeAlias = tuple[float, float, float, float]
"""A rectangle: x1, y1, x2, y2."""

NUMBER = re.compile(r"[+-]?\d{1,18}")
"""A whole number in words."""
INDEX = re.compile(r"#\d{1,18}")
"""A class index in words, also where class names are numbers."""


def text(words: str, at: int, value: str) -> str:
    """Read any text."""
    return value


def label(words: str, at: int, value: str, names: Collection[str] = ()) -> Label:
    """Read a class: one of the folded *names*, its index as ``#3`` or ``3``, or an unknown name.

    Names that are numbers take precedence over indices; ``#3`` is the index also there.
    """
    if folded(value) in names:
        return value
    if INDEX.fullmatch(value):
        return int(value[1:])
    return int(value) if NUMBER.fullmatch(value) else value


def one_of(*known: str) -> Callable[[str, int, str], str]:
    """Return the reader of one of the words *known*."""

    def read(words: str, at: int, value: str) -> str:
        if value in known:
            return value
        return fail(words, at, f"{value!r} is none of {', '.join(known)}.{nearest(value, known)}")

    return read


def number(words: str, at: int, value: str) -> int:
    """Read a whole number from 0; a TargetError marks place *at* in *words*."""
    return int(value) if _is_count(value) else fail(words, at, f"{value!r} is no number; count from 0")


def count(words: str, at: int, value: str) -> int:
    """Read a whole number from 1."""
    if _is_count(value) and int(value) > 0:
        return int(value)
    return fail(words, at, f"{value!r} is no number above 0")


def _is_count(value: str) -> bool:
    return value.isdigit() and NUMBER.fullmatch(value) is not None


def corners(words: str, at: int, value: str) -> Corners:
    """Read a rectangle, ``x1,y1,x2,y2`` with x1 < x2 and y1 < y2."""
    numbers: list[float] = []
    for part in value.split(","):
        found = parse_float(part)
        if found is None:
            fail(words, at, f"{part.strip()!r} is no number; a rectangle is x1,y1,x2,y2")
        numbers.append(found)
        at += len(part) + 1
    if len(numbers) != 4:
        fail(words, at - 1, f"a rectangle is x1,y1,x2,y2: four numbers, not {len(numbers)}")
    x1, y1, x2, y2 = numbers
    if not (x1 < x2 and y1 < y2):
        fail(words, at - 1 - len(value), "the rectangle is empty; x1 < x2 and y1 < y2")
    return x1, y1, x2, y2


def rectangle(corners: Any) -> str:
    """Write a rectangle: in whole pixels, or with two decimals where it is smaller than 4 pixels."""
    x1, y1, x2, y2 = corners
    digits = 0 if min(x2 - x1, y2 - y1) >= 4 else 2
    return ",".join(f"{x:.{digits}f}" for x in corners)


def quoted(value: object) -> str:
    """Write *value* as the value of a key, in quotation marks where it needs them."""
    value = "array" if isinstance(value, np.ndarray) else str(value)
    mark = "'" if '"' in value else '"'
    return f"{mark}{value}{mark}" if not value or re.search(r"^[\"']|\s", value) else value


def fail(words: str, at: int, why: str) -> NoReturn:
    """Raise a TargetError that shows *words* with a mark under place *at*."""
    raise TargetError(f"the target does not parse: {why}{pointed(words, at)}")
