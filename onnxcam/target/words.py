"""Targets in words: the same on the command line, in Python and in JSON. What they mean is up to the model's task.

======================  ==================================================================================
``281``, ``tabby``       the score of a class, by index or label
``top``, ``top=5``       what the model itself puts first; the five that it puts first
``281-285``              why this class and not that: the difference of the two scores
``not 281``              what speaks against a class
``NAME[0, 281]``         an element of any tensor; ``NAME[:, 3].sum()`` or ``.mean()`` of several
``box=10,20,90,80``      the detection at a place, in pixels of the picture; ``class=dog`` names its class
``detection=2``          the third best detection
``class=3``              the region that a segmentation gives to a class; ``mask=FILE`` names the region
``like=FILE``            how near an embedding is to that of another picture; ``unlike=FILE`` and how far from a third
``text=AB12``            that a text is read; ``at=2`` its third character
``word=red``             the word of a caption; ``after="a small"`` after these words, ``step=2`` or at a place
``patch=10,20,90,80``    a part of the picture that an image-to-image model puts out, in its pixels
======================  ==================================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam import labels as labelling
from onnxcam.errors import TargetError, nearest

Label: TypeAlias = "int | str"
Picture: TypeAlias = "str | os.PathLike[str] | NDArray[Any]"
Corners: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class Top:
    """What the model itself puts first; the *count* that it puts first are several targets."""

    count: int = 1


@dataclass(frozen=True)
class Class:
    """The score of a class."""

    label: Label


@dataclass(frozen=True)
class Contrast:
    """The score of a class less that of another."""

    label: Label
    against: Label


@dataclass(frozen=True)
class Against:
    """The negative score of a class."""

    label: Label


@dataclass(frozen=True)
class Element:
    """Elements of a tensor, their sum or mean. The first index is that of the picture: 0 or all."""

    tensor: str
    index: tuple[int | slice, ...]
    mean: bool = False


@dataclass(frozen=True)
class Box:
    """The detection at (x1, y1, x2, y2), in pixels of the picture."""

    corners: Corners
    label: Label | None = None


@dataclass(frozen=True)
class Detection:
    """The detection of this number, the best is 0; of those of a class, if one is named."""

    number: int = 0
    label: Label | None = None


@dataclass(frozen=True)
class Region:
    """The score of a class over a region: that of *mask*, or where the model itself sees the class."""

    label: Label | None = None
    mask: Picture | None = None


@dataclass(frozen=True)
class Like:
    """The cosine between the embedding and that of *picture*, less that with *unlike*."""

    picture: Picture | None
    unlike: Picture | None = None


@dataclass(frozen=True)
class Text:
    """That *text* is read; only its character number *at*."""

    text: str
    at: int | None = None


@dataclass(frozen=True)
class Word:
    """That the caption goes on with *word*, after the words *after* or at place *step* of the model's own caption."""

    word: str | None
    after: str | None = None
    step: int | None = None


@dataclass(frozen=True)
class Patch:
    """A part (x1, y1, x2, y2) of the picture that is put out."""

    corners: Corners


Wish: TypeAlias = (
    "Top | Class | Contrast | Against | Element | Box | Detection | Region | Like | Text | Word | Patch"  #
)
WISHES = (Top, Class, Contrast, Against, Element, Box, Detection, Region, Like, Text, Word, Patch)
Target: TypeAlias = "int | str | Wish | None"

_CLAUSE = re.compile(r"""\s*(?P<key>\w+)=(?P<value>"[^"]*"|'[^']*'|\S+)""")
_ELEMENT = re.compile(r"(?P<tensor>.+?)\[(?P<index>[^\]]*)\](?P<tail>.*)")
_KEYS: dict[str, tuple[str, ...]] = {
    "top": (),
    "box": ("class",),
    "detection": ("class",),
    "mask": ("class",),
    "class": ("mask", "box", "detection"),
    "like": ("unlike",),
    "unlike": ("like",),
    "text": ("at",),
    "word": ("after", "step"),
    "after": ("word", "step"),
    "step": ("word",),
    "patch": (),
}
"""Every key that may stand first, and what may stand beside it."""


def parse(target: Target, labels: Sequence[str] | None = None) -> Wish:
    """Return what *target* says; TargetError with a mark under the place where it says nothing.

    A target that is a label as a whole is that class, whatever else it might mean.
    """
    if target is None:
        return Top()
    if isinstance(target, WISHES):
        return target
    if isinstance(target, int | np.integer):
        return Class(int(target))
    if not isinstance(target, str):
        raise TargetError(f"a target cannot be a {type(target).__name__}; give a class index, a label or words")
    words = target.strip()
    if not words:
        raise TargetError("the target is empty; give a class index, a label, or top")
    if words == "top":
        return Top()
    if re.fullmatch(r"[+-]?\d+", words) or _is_label(words, labels):
        return Class(_label(words))
    for read in (_against, _contrast, _element, _clauses):
        wish = read(words, labels)
        if wish is not None:
            return wish
    return Class(words)


def _is_label(words: str, labels: Sequence[str] | None) -> bool:
    if labels is None:
        return False
    try:
        labelling.index(words, labels)
    except TargetError:
        return False
    return True


def _label(words: str) -> Label:
    return int(words) if re.fullmatch(r"[+-]?\d+", words) else words


def _against(words: str, labels: Sequence[str] | None) -> Wish | None:
    return Against(_label(words[4:].strip())) if words.startswith("not ") else None


def _contrast(words: str, labels: Sequence[str] | None) -> Wish | None:
    """Read ``A-B``: two numbers, or two labels, which may hold hyphens themselves."""
    for place in (match.start() for match in re.finditer("-", words)):
        pair = words[:place].strip(), words[place + 1 :].strip()
        if all(part.isdigit() or part == "top" or _is_label(part, labels) for part in pair):
            return Contrast(_label(pair[0]), _label(pair[1]))
    return None


def _element(words: str, labels: Sequence[str] | None) -> Wish | None:
    found = _ELEMENT.fullmatch(words)
    if found is None or "=" in words.split("[")[0]:
        return None
    start, parts = found.start("index"), []
    for part in found["index"].split(","):
        parts.append(_index(words, start, part))
        start += len(part) + 1
    tail, single = found["tail"].strip(), all(isinstance(part, int) for part in parts)
    if tail not in ("", ".sum()", ".mean()"):
        _fail(words, found.start("tail"), "after the brackets stands nothing, .sum() or .mean()")
    if not tail and not single:
        _fail(words, len(words), "several elements need .sum() or .mean()")
    if not (parts[0] == 0 or parts[0] == slice(None)):
        _fail(words, found.start("index"), "the first index is the picture's: write 0 or :")
    return Element(found["tensor"].strip(), tuple(parts), mean=tail == ".mean()")


def _index(words: str, start: int, part: str) -> int | slice:
    ends = part.split(":")
    try:
        if len(ends) == 1:
            return int(part)
        if len(ends) in (2, 3):
            return slice(*(int(end) if end.strip() else None for end in ends))
    except ValueError:
        pass
    return _fail(words, start + len(part) - len(part.lstrip()), f"{part.strip()!r} is no index")


def _clauses(words: str, labels: Sequence[str] | None) -> Wish | None:
    """Read ``key=value key=value``, values with blanks in quotation marks."""
    if not re.match(r"\s*\w+=", words) or words.split("=")[0] not in {*_KEYS, "at"}:
        unknown = re.fullmatch(r"(\w+)=\S+", words)
        if unknown is not None and not words.isdigit():
            _fail(words, 0, f"there is no {unknown[1]!r}; there are {', '.join(_KEYS)}.{nearest(unknown[1], _KEYS)}")
        return None
    values: dict[str, tuple[str, int]] = {}
    end = 0
    while words[end:].strip():
        found = _CLAUSE.match(words, end)
        if found is None:
            _fail(words, end + len(words[end:]) - len(words[end:].lstrip()), "here stands no key=value")
        key, first = found["key"], next(iter(values), found["key"])
        if first not in _KEYS or (values and key not in _KEYS[first]):
            beside = ", ".join(_KEYS.get(first, ())) or "nothing"
            _fail(words, found.start("key"), f"beside {first}= may stand {beside}, not {key}=")
        if key in values:
            _fail(words, found.start("key"), f"{key}= stands twice")
        quoted = found["value"][0] in "\"'"
        values[key] = (found["value"][1:-1] if quoted else found["value"]), found.start("value") + quoted
        end = found.end()
    return _wish(words, values)


def _wish(words: str, values: dict[str, tuple[str, int]]) -> Wish:
    """Return what the clauses mean together."""

    def get(key: str, read: Callable[[str, int, str], Any] = lambda words, at, text: text) -> Any:
        return read(words, values[key][1], values[key][0]) if key in values else None

    label = get("class", lambda words, at, text: _label(text))
    if "top" in values:
        return Top(get("top", _count))
    if "box" in values:
        return Box(get("box", _corners), label)
    if "detection" in values:
        return Detection(get("detection", _number), label)
    if "mask" in values or "class" in values:
        return Region(label, get("mask"))
    if "like" in values or "unlike" in values:
        return Like(get("like"), get("unlike"))
    if "text" in values:
        return Text(get("text"), get("at", _number))
    if "patch" in values:
        return Patch(get("patch", _corners))
    return Word(get("word"), get("after"), get("step", _number))


def _number(words: str, at: int, text: str) -> int:
    return int(text) if text.isdigit() else _fail(words, at, f"{text!r} is no number; count from 0")


def _count(words: str, at: int, text: str) -> int:
    return int(text) if text.isdigit() and int(text) > 0 else _fail(words, at, f"{text!r} is no number above 0")


def _corners(words: str, at: int, text: str) -> Corners:
    parts, numbers = text.split(","), []
    for part in parts:
        try:
            numbers.append(float(part))
        except ValueError:
            _fail(words, at, f"{part.strip()!r} is no number; a rectangle is x1,y1,x2,y2")
        at += len(part) + 1
    if len(numbers) != 4:
        _fail(words, at - 1, f"a rectangle is x1,y1,x2,y2: four numbers, not {len(numbers)}")
    x1, y1, x2, y2 = numbers
    if not (x1 < x2 and y1 < y2):
        _fail(words, at - 1 - len(text), "the rectangle is empty; x1 < x2 and y1 < y2")
    return x1, y1, x2, y2


def _fail(words: str, at: int, why: str) -> NoReturn:
    raise TargetError(f"the target does not parse: {why}\n  {words}\n  {' ' * at}^")
