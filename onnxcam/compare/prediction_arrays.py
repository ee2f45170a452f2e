"""Fields of predictions as named arrays of recordings, by forms such as ``float [B, 4]``.

A form is a kind and lengths. Equal letters stand for equal lengths, in all arrays of one prediction; the length of a
small letter is at least 1. ``[...]`` is any shape; parentheses instead of brackets give a tuple. ``|`` separates
alternatives; ``?`` at the end says that the array may be missing. Kinds: ``float``, ``int``, ``index`` (an integer of
at least 0), ``bool``; ``text`` is UTF-8, ``texts`` are several, each with a zero byte at its end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ARRAY_TYPES", "LARGEST", "packed", "unpacked"]

ARRAY_TYPES = (
    *("float64", "float32", "float16", "int64", "int32", "int16", "int8"),
    *("uint64", "uint32", "uint16", "uint8", "bool"),
)
"""Data types of arrays in a recording."""
LARGEST = 2**24
"""Bound on integers and lengths; larger ones would exhaust memory."""

_KINDS = {"float": "f", "int": "iu", "index": "iu", "bool": "b", "text": "u", "texts": "u"}
_TEXTS = ("text", "texts")


def packed(values: Mapping[str, Any], forms: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Return the *values* as arrays, without those that are None; integers in the smallest type that holds them."""
    return {name: _packed(values[name], form) for name, form in forms.items() if values[name] is not None}


def _packed(value: Any, form: str) -> NDArray[Any]:
    if form in _TEXTS:
        text = value if form == "text" else "".join(one.replace("\0", " ") + "\0" for one in value)
        return np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        return array
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    fits = (kind for kind in (np.int8, np.int16, np.int32) if np.iinfo(kind).min <= low <= high <= np.iinfo(kind).max)
    return array.astype(next(fits, np.int64))


def unpacked(
    arrays: Mapping[str, NDArray[Any]], forms: Mapping[str, str], optional: Collection[str] = ()
) -> dict[str, Any]:
    """Return the values in *arrays*, the inverse of `packed`; those of *optional* names may be missing.

    Raises:
        ValueError: an array is missing, unknown, or of another form.
    """
    if unknown := [name for name in arrays if name not in forms]:
        raise ValueError(f"{unknown[0]!r} is none of its arrays: {', '.join(forms)}")
    lengths: dict[str, int] = {}
    found = {}
    for name, form in forms.items():
        if name in arrays:
            found[name] = _value(name, arrays[name], form, lengths)
        elif name not in optional and form.endswith("?"):
            found[name] = None
        elif name not in optional:
            raise ValueError(f"there is no {name!r}, {form}")
    return found


def _value(name: str, array: NDArray[Any], form: str, lengths: dict[str, int]) -> Any:
    """Return the value of an *array*, after a check of its form; *lengths* are those of letters known so far."""
    lengths = {} if form in _TEXTS else lengths
    for one in form.rstrip("?").split("|"):
        kind, shape = _parsed(one)
        if array.dtype.kind in _KINDS[kind] and _fits(array.shape, shape, lengths):
            value = _checked(name, array, kind)
            return tuple(value.tolist()) if "(" in one else value
    known = "".join(f", with {letter} = {length}" for letter, length in lengths.items())
    raise ValueError(f"{name!r} is {array.dtype} {list(array.shape)} and should be {form}{known}")


def _parsed(form: str) -> tuple[str, list[str]]:
    kind, _, rest = form.strip().partition(" ")
    lengths = ["B"] if kind in _TEXTS else rest.strip("[]() ").split(",")
    return kind, [length.strip() for length in lengths if length.strip()]


def _fits(shape: tuple[int, ...], wanted: list[str], lengths: dict[str, int]) -> bool:
    """Whether a *shape* has the *wanted* lengths; if so, letters that are new join *lengths*."""
    new: dict[str, int] = {}
    if wanted == ["..."]:
        return True
    if len(shape) != len(wanted):
        return False
    for length, word in zip(shape, wanted, strict=True):
        known = int(word) if word.isdigit() else lengths.get(word, new.get(word, length))
        if length != known or (word.islower() and length == 0):
            return False
        if word.isalpha():
            new[word] = length
    lengths |= new
    return True


def _checked(name: str, array: NDArray[Any], kind: str) -> Any:
    if kind in _TEXTS:
        text = array.tobytes().decode("utf-8", "replace")
        return text if kind == "text" else tuple(text.split("\0")[:-1])
    if kind in ("int", "index"):
        least = 0 if kind == "index" else -LARGEST
        if array.size and not (least <= int(array.min()) <= int(array.max()) < LARGEST):
            raise ValueError(f"{name!r} holds an integer outside {least} to {LARGEST}")
        array = array.astype(np.int64)
    return array if array.ndim else array.item()
