"""Read the YAML that configuration files of PaddlePaddle consist of: nested mappings, lists and plain scalars.

It is a small part of YAML: blocks by indentation, ``[a, b]`` and ``{a: b}`` of scalars, quoted and plain scalars,
comments. Anchors, tags, multi-line text and several documents are refused with ValueError.
"""

from __future__ import annotations

import re
from ast import literal_eval
from typing import Any

__all__ = ["parse"]

_LINES = 200_000
"""A longer file is refused."""

_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#'"\[{&*!|>%@`-][^#]*?|-[^\s#][^#]*?)\s*:(?:\s+(.*))?$""")
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_WORDS = {"": None, "null": None, "~": None, "true": True, "false": False, "yes": True, "no": False}

_ESCAPED = {"_": "\\xa0", "N": "\\x85", "L": "\\u2028", "P": "\\u2029", "e": "\\x1b", "/": "/", " ": " ", "\\": "\\\\"}
_ESCAPES = re.compile(r"\\([_NLPe/ \\])")
"""Escapes of YAML that Python does not have, and a backslash itself."""

_Line = tuple[int, str]


def parse(text: str) -> Any:
    """Return the value of a YAML document. Raises ValueError for what this reader does not know."""
    lines = [(len(line) - len(line.lstrip(" ")), _bare(line)) for line in text.splitlines()]
    lines = [line for line in lines if line[1] and line[1] not in ("---", "...")]
    if len(lines) > _LINES:
        raise ValueError("the file has too many lines")
    value, end = _block(lines, 0, lines[0][0]) if lines else (None, 0)
    if end != len(lines):
        raise ValueError(f"line {lines[end][1][:40]!r} has another indentation than expected")
    return value


def _bare(line: str) -> str:
    """Return *line* without indentation and comment."""
    stripped = line.strip()
    if stripped.startswith("#"):
        return ""
    return re.split(r"\s#", stripped)[0].rstrip() if "'" not in stripped and '"' not in stripped else stripped


def _block(lines: list[_Line], at: int, indent: int) -> tuple[Any, int]:
    """Return the value of the block at line *at*, and the number of the line behind it."""
    first = lines[at][1]
    if first == "-" or first.startswith("- "):
        return _list(lines, at, indent)
    if _KEY.match(first):
        return _mapping(lines, at, indent)
    return _scalar(first), at + 1


def _list(lines: list[_Line], at: int, indent: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while at < len(lines) and lines[at][0] == indent and (lines[at][1] == "-" or lines[at][1].startswith("- ")):
        rest = lines[at][1][1:].lstrip()
        if not rest:
            value, at = _nested(lines, at + 1, indent)
        elif _KEY.match(rest) or rest.startswith("- "):
            inner = indent + len(lines[at][1]) - len(rest)
            lines[at] = (inner, rest)
            value, at = _block(lines, at, inner)
        else:
            value, at = _scalar(rest), at + 1
        found.append(value)
    return found, at


def _mapping(lines: list[_Line], at: int, indent: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while at < len(lines) and lines[at][0] == indent and (match := _KEY.match(lines[at][1])):
        key, rest = str(_scalar(match[1], plain=True)), (match[2] or "").strip()
        if rest:
            found[key], at = _scalar(rest), at + 1
        else:
            is_list = at + 1 < len(lines) and lines[at + 1][0] == indent and lines[at + 1][1].startswith("-")
            found[key], at = _list(lines, at + 1, indent) if is_list else _nested(lines, at + 1, indent)
    return found, at


def _nested(lines: list[_Line], at: int, indent: int) -> tuple[Any, int]:
    return _block(lines, at, lines[at][0]) if at < len(lines) and lines[at][0] > indent else (None, at)


def _scalar(text: str, *, plain: bool = False) -> Any:
    """Return a scalar, or a list or mapping of scalars in brackets; *plain*: a word stays one."""
    if text[:1] == "'" and text[-1:] == "'" and len(text) > 1:
        return text[1:-1].replace("''", "'")
    if text[:1] == '"' and text[-1:] == '"' and len(text) > 1:
        return str(literal_eval(_ESCAPES.sub(lambda found: _ESCAPED[found[1]], text)))
    if text[:1] == "[" and text[-1:] == "]":
        return [_scalar(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    if text == "{}":
        return {}
    if text[:1] in tuple("&*!|>%@`{["):
        raise ValueError(f"{text[:40]!r} is YAML that is not read here")
    if plain:
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        return float(text) if re.search(r"[.eE]", text) else int(text)
    return text
