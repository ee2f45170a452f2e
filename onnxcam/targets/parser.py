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

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from onnxcam.errors import TargetError, nearest
from onnxcam.metadata import labels as labelling
from onnxcam.numbers import parse_float
from onnxcam.targets.kinds import (
    WISHES,
    Against,
    Box,
    Class,
    Contrast,
    Corners,
    Detection,
    Element,
    Label,
    Like,
    Patch,
    Region,
    Target,
    Text,
    Top,
    Wish,
    Word,
)
from onnxcam.text import pointed

__all__ = ["WISHES", "parse", "quoted"]

MAX_WORDS = 4096
"""Longer targets are refused: they take long to parse."""
_CLAUSE = re.compile(r"""\s*(?P<key>\w+)=(?P<value>"[^"]*"|'[^']*'|\S+)""")
_ELEMENT = re.compile(r"(?P<tensor>.+?)\[(?P<index>[^\]]*)\](?P<tail>.*)")
_NUMBER = re.compile(r"[+-]?\d{1,18}")
_FORMS: tuple[tuple[str, ...], ...] = (
    ("top",),
    ("box", "class"),
    ("detection", "class"),
    ("class", "mask"),
    ("like", "unlike"),
    ("text", "at"),
    ("word", "after"),
    ("word", "step"),
    ("patch",),
)
"""The keys that may stand together, in any order."""
_KEYS = tuple(dict.fromkeys(key for form in _FORMS for key in form))


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
    if len(words) > MAX_WORDS:
        raise TargetError(f"the target has {len(words)} characters; give at most {MAX_WORDS}")
    if not words:
        raise TargetError("the target is empty; give a class index, a label, or top")
    if words == "top":
        return Top()
    names = labelling.places(labels or ())
    if _NUMBER.fullmatch(words) or labelling.folded(words) in names:
        return Class(_label(words))
    for read in (_against, _contrast, _element, _clauses):
        wish = read(words, names)
        if wish is not None:
            return wish
    return Class(words)


def _label(words: str) -> Label:
    return int(words) if _NUMBER.fullmatch(words) else words


def _against(words: str, names: Collection[str]) -> Wish | None:
    return Against(_label(words[4:].strip())) if words.startswith("not ") else None


def _contrast(words: str, names: Collection[str]) -> Wish | None:
    """Read ``A-B``: two numbers, or two labels, which may hold hyphens themselves."""
    for place in (match.start() for match in re.finditer("-", words)):
        pair = words[:place].strip(), words[place + 1 :].strip()
        if all(part.isdigit() or part == "top" or labelling.folded(part) in names for part in pair):
            return Contrast(_label(pair[0]), _label(pair[1]))
    return None


def _element(words: str, names: Collection[str]) -> Wish | None:
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
    return Element(found["tensor"].strip(), tuple(parts), mean=tail == ".mean()")


def _index(words: str, start: int, part: str) -> int | slice:
    ends = [end.strip() for end in part.split(":")]
    if all(_NUMBER.fullmatch(end) or (not end and len(ends) > 1) for end in ends):
        numbers = [int(end) if end else None for end in ends]
        if len(ends) == 1:
            return int(ends[0])
        if len(ends) == 2 or (len(ends) == 3 and numbers[2] != 0):
            return slice(*numbers)
    why = "is out of range" if part.strip().lstrip("-").isdecimal() else "is no index"
    return _fail(words, start + len(part) - len(part.lstrip()), f"{part.strip()!r} {why}")


def _clauses(words: str, names: Collection[str]) -> Wish | None:
    """Read ``key=value key=value``, values with blanks in quotation marks."""
    first = re.match(r"(\w+)=", words)
    if first is None:
        return None
    values: dict[str, tuple[str, int]] = {}
    end = 0
    while words[end:].strip():
        found = _CLAUSE.match(words, end)
        if found is None:
            _fail(words, end + len(words[end:]) - len(words[end:].lstrip()), "here stands no key=value")
        key = found["key"]
        if key not in _KEYS:
            _fail(words, found.start("key"), f"there is no {key}=; there are {', '.join(_KEYS)}.{nearest(key, _KEYS)}")
        if key in values:
            _fail(words, found.start("key"), f"{key}= stands twice")
        if not any({*values, key} <= set(form) for form in _FORMS):
            _fail(words, found.start("key"), f"beside {'= and '.join(values)}= may stand {_beside(values)}, not {key}=")
        quoted = found["value"][0] in "\"'"
        values[key] = (found["value"][1:-1] if quoted else found["value"]), found.start("value") + quoted
        end = found.end()
    if list(values) == ["at"]:
        _fail(words, 0, "at= stands beside text=")
    return _wish(words, values)


def _beside(keys: Iterable[str]) -> str:
    """Return what may stand beside *keys*."""
    more = dict.fromkeys(key for form in _FORMS if set(keys) <= set(form) for key in form if key not in keys)
    return ", ".join(f"{key}=" for key in more) or "nothing"


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
    return int(text) if _is_count(text) else _fail(words, at, f"{text!r} is no number; count from 0")


def _count(words: str, at: int, text: str) -> int:
    if _is_count(text) and int(text) > 0:
        return int(text)
    return _fail(words, at, f"{text!r} is no number above 0")


def _is_count(text: str) -> bool:
    return text.isdigit() and _NUMBER.fullmatch(text) is not None


def _corners(words: str, at: int, text: str) -> Corners:
    parts = text.split(",")
    numbers: list[float] = []
    for part in parts:
        number = parse_float(part)
        if number is None:
            _fail(words, at, f"{part.strip()!r} is no number; a rectangle is x1,y1,x2,y2")
        numbers.append(number)
        at += len(part) + 1
    if len(numbers) != 4:
        _fail(words, at - 1, f"a rectangle is x1,y1,x2,y2: four numbers, not {len(numbers)}")
    x1, y1, x2, y2 = numbers
    if not (x1 < x2 and y1 < y2):
        _fail(words, at - 1 - len(text), "the rectangle is empty; x1 < x2 and y1 < y2")
    return x1, y1, x2, y2


def quoted(text: object) -> str:
    """Return *text* as the value of a key: in quotation marks where it must be."""
    text = "array" if isinstance(text, np.ndarray) else str(text)
    mark = "'" if '"' in text else '"'
    return f"{mark}{text}{mark}" if not text or re.search(r"^[\"']|\s", text) else text


def _fail(words: str, at: int, why: str) -> NoReturn:
    raise TargetError(f"the target does not parse: {why}{pointed(words, at)}")
