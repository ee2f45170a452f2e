"""Make text of unknown origin safe for a terminal, a report or a JSON file."""

from __future__ import annotations

import json
import math
import os
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = [
    "AROUND",
    "LONGEST",
    "finite",
    "first_line",
    "in_message",
    "plain",
    "pointed",
    "to_json",
    "to_json_rows",
    "visible",
    "with_slashes",
]

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of invisible characters and of direction marks: U+202E shows `exe.jpg` as `gpj.exe`."""
_JOINERS = "\u200c\u200d"
"""Harmless format characters, needed in words and emoji."""
LONGEST = 120
_IN_MESSAGE = 200
AROUND = 100
"""Characters that an error shows on each side of a position."""
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters allowed in JSON but unsafe in a terminal: C1 controls, direction marks, lone surrogates."""


def visible(text: str, longest: int = LONGEST) -> str:
    r"""Return *text* with invisible characters escaped, cut in the middle to *longest* characters.

    Control characters, line breaks, direction marks and bytes that are not UTF-8 (surrogates of `os.fsdecode`) become
    ``\n``, ``\u202e``, ``\xff``. Backslashes are kept. The result can be encoded.

    >>> visible("a\u202egpj.exe")
    'a\\u202egpj.exe'
    """
    whole = "".join(map(_shown, text))
    if len(whole) <= longest:
        return whole
    head = (longest - 1) * 2 // 3
    return whole[:head] + "…" + whole[head + 1 - longest :]


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) not in _HIDDEN or character in _JOINERS:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def in_message(value: str | os.PathLike[str]) -> str:
    """Return a path, or a value as text, for an error message: `visible`, cut in the middle to 200 characters."""
    return visible(with_slashes(os.fspath(value)), _IN_MESSAGE)


def with_slashes(text: str) -> str:
    """Return *text* with both slashes of each address in it, such as ``s3://bucket``: a `Path` has lost one."""
    return _JOINED.sub(r"\1://", text)


_JOINED = re.compile(
    r"(?<![\w/])(https?|hf|s3a?|gs|gcs|az|abfss?|adl|ftp|sftp|hdfs|webhdfs|oci|oss|memory):/(?=[^/\s])", re.IGNORECASE
)


def plain(text: str, longest: int = 2000) -> str:
    """Return *text* on one line, invisible characters escaped, cut in the middle to *longest* characters."""
    return visible(with_slashes(" ".join(text.split())), longest)


def pointed(words: str, at: int) -> str:
    r"""Return two more lines for an error message: *words* around position *at*, and a mark under it.

    >>> pointed("a=?", 2)
    '\n  a=?\n    ^'
    """
    before, after = (visible(part, len(part) * 10) for part in (words[:at], words[at:]))
    if len(before) > AROUND:
        before = "…" + before[1 - AROUND :]
    if len(after) > AROUND:
        after = after[: AROUND - 1] + "…"
    return f"\n  {before}{after}\n  {' ' * len(before)}^"


def first_line(error: BaseException) -> str:
    """Return the first line of the message of *error*, or the name of its type if the message is empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def to_json(value: Any) -> str:
    """Return *value* as JSON; numbers that are not finite become null, unsafe characters are escaped."""
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    return _escaped(text)


def _escaped(text: str) -> str:
    """Return JSON with its unsafe characters escaped."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def to_json_rows(rows: Sequence[Any]) -> str:
    """Return *rows* as a JSON list with one element on each line, as `to_json` writes them."""
    texts = (json.dumps(finite(row), ensure_ascii=False, allow_nan=False) for row in rows)
    return _escaped("[\n" + ",\n".join(texts) + "\n]")


def finite(value: Any) -> Any:
    """Return *value* with None for each number that is not finite, also in dicts, lists and tuples."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value
