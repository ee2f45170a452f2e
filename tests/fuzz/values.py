"""Values that somebody forgets to check: numbers at the ends of types, texts that are none, JSON of wrong types."""

from __future__ import annotations

from random import Random
from typing import Any

INTEGERS = (0, 1, -1, 2, -2, 3, 7, 100, 1000, 2**15, 2**16, 2**20, 2**24, 2**28, 2**31 - 1, 2**31, -(2**31), 2**36)
EXTREME = (*INTEGERS, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, float("nan"), float("inf"), float("-inf"), 0.5)
TEXTS = (
    "",
    " ",
    "\n",
    "\x00",
    "\x1b[31mred\x07",
    "a\r\nb",
    "x" * 300,
    "y" * 100_000,
    "-" * 100_000,
    "[" * 100_000,
    "(" * 300 + ")" * 300,
    "../../etc/passwd",
    "/dev/zero",
    "/",
    ".",
    "é\u202e\u0301",
    "\ud7ff\ue000\U0010ffff",
    "nan",
    "1e999",
    "9" * 400,
    "9" * 5000,
    "-1",
    "None",
    "null",
    "true",
    "[]",
    "{}",
    "[99999999, 99999999]",
    "[-1, 0]",
    "['a', ['b'], 'c']",
    "{0: 'a', 1: 5}",
    "__import__('os').getpid()",
    "onnxcam.map",
    "onnxcam.class",
    "%s{}{0}",
    "[bold]x[/bold]",
    "[/]",
)
RAW = (b"\xff", b"\xc3\x28", b"\x00", b"\xed\xa0\x80", b"\x1b]0;x\x07")
"""Bytes that are no UTF-8, or that a terminal obeys."""


def integer(rng: Random) -> int:
    """Return an integer that somebody did not expect."""
    return rng.choice((rng.choice(EXTREME), rng.randrange(-4, 300), rng.getrandbits(63)))


def text(rng: Random) -> str:
    """Return a text that somebody did not expect."""
    return rng.choice((rng.choice(TEXTS), "".join(chr(rng.randrange(32, 300)) for _ in range(rng.randrange(12)))))


def json_value(rng: Random, depth: int = 0) -> Any:
    """Return a JSON value of any type; NaN and infinity among the numbers."""
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 6:
        return [json_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return {text(rng)[:50]: json_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return (None, rng.random() < 0.5, integer(rng), rng.choice(FLOATS), text(rng), rng.randrange(10))[kind]


def damage_json(rng: Random, value: Any) -> Any:
    """Return the JSON *value* with one place in it dropped, renamed, doubled or replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        return rng.choice((_replaced_in_dict, _replaced_in_dict, _dropped_from_dict))(rng, value, key)
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], *rng.choice(([], [value[at]] * 2, [damage_json(rng, value[at])])), *value[at + 1 :]]
    return json_value(rng)


def _replaced_in_dict(rng: Random, value: dict[str, Any], key: str) -> dict[str, Any]:
    return {**value, key: damage_json(rng, value[key])}


def _dropped_from_dict(rng: Random, value: dict[str, Any], key: str) -> dict[str, Any]:
    return {other: kept for other, kept in value.items() if other != key}
