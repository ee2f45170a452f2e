"""Parse a target: words, as on the command line, in Python and in JSON, to one of the registered kinds.

`onnxcam.targets.kinds` lists the kinds with their notation; docs/targets.md explains them. A kind either reads all
words by itself, or consists of ``key=value`` pairs, whose values are quoted if they contain blanks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from onnxcam.errors import TargetError, nearest
from onnxcam.metadata import labels as labelling
from onnxcam.targets.kinds import Class, Target, Top
from onnxcam.targets.notation import INDEX, NUMBER, fail, label, quoted
from onnxcam.targets.registry import KINDS, KindEntry, TargetKind

__all__ = ["MAX_WORDS", "parse", "quoted"]

MAX_WORDS = 4096
"""Longer targets are refused: they take long to parse."""
_PAIR = re.compile(r"""\s*(?P<key>\w+)=(?P<value>"[^"]*"|'[^']*'|\S+)""")


def parse(target: Target, labels: Sequence[str] | None = None) -> TargetKind:
    """Return *target* as a registered kind; a TargetError marks the place where it does not parse.

    Words that are one of the class names *labels* mean that class, whatever else they might mean.
    """
    if target is None:
        return Top()
    if isinstance(target, TargetKind):
        return target
    if isinstance(target, int | np.integer) and not isinstance(target, bool):
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
    if NUMBER.fullmatch(words) or INDEX.fullmatch(words) or labelling.folded(words) in names:
        return Class(label(words, 0, words, names))
    return _by_a_kind(words, names) or _pairs(words, names) or Class(words)


def _by_a_kind(words: str, names: Collection[str]) -> TargetKind | None:
    readers = [entry.read for entry in KINDS.values() if entry.read is not None]
    return next((found for read in readers if (found := read(words, names)) is not None), None)


def _pairs(words: str, names: Collection[str]) -> TargetKind | None:
    """Read ``key=value key=value``."""
    if re.match(r"\w+=", words) is None:
        return None
    values: dict[str, tuple[str, int]] = {}
    end = 0
    while words[end:].strip():
        found = _PAIR.match(words, end)
        if found is None:
            at = end + len(words[end:]) - len(words[end:].lstrip())
            fail(words, at, "a key=value is missing here; a value with blanks needs quotation marks")
        _check_key(words, found["key"], found.start("key"), values)
        marks = found["value"][0] in "\"'"
        if marks and (len(found["value"]) == 1 or found["value"][-1] != found["value"][0]):
            fail(
                words,
                found.start("value"),
                f"this quotation mark is not closed: end the value with {found['value'][0]}",
            )
        values[found["key"]] = (found["value"][1:-1] if marks else found["value"]), found.start("value") + marks
        end = found.end()
    for entry in KINDS.values():
        if entry.allows(values) and values.keys() & entry.keys.keys():
            return entry.make(
                {key: _reader(entry, key, names)(words, at, value) for key, (value, at) in values.items()}
            )
    option = next(iter(values))
    selecting = dict.fromkeys(f"{key}=" for entry in KINDS.values() if option in entry.options for key in entry.keys)
    return fail(words, 0, f"{option}= needs {' or '.join(selecting)}")


def _reader(entry: KindEntry, key: str, names: Collection[str]) -> Callable[..., Any]:
    """Return the reader of a key; the reader of classes knows their *names*."""
    read = entry.readers[key]
    return partial(read, names=names) if read is label else read


def _check_key(words: str, key: str, at: int, given: Collection[str]) -> None:
    known = list(dict.fromkeys(key for entry in KINDS.values() for key in entry.readers))
    if key not in known:
        fail(words, at, f"there is no {key}=; there are {', '.join(known)}.{nearest(key, known)}")
    if key in given:
        fail(words, at, f"{key}= is given twice")
    if not _allowed([*given, key]):
        others = ", ".join(f"{other}=" for other in known if other not in given and _allowed([*given, other]))
        fail(words, at, f"with {'= and '.join(given)}= you may give {others or 'nothing else'}, not {key}=")


def _allowed(keys: Collection[str]) -> bool:
    return any(entry.allows(keys) for entry in KINDS.values())
