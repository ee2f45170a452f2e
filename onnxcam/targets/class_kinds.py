"""Kinds of targets of a classifier: a class, several, their negative score, and the difference of two."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from onnxcam.metadata import labels as labelling
from onnxcam.metadata.class_words import ranges
from onnxcam.targets.notation import INDEX, Label, count, fail, label
from onnxcam.targets.registry import TargetKind, register_kind

__all__ = ["Against", "Class", "Contrast", "Group", "Side", "Top"]


@register_kind("top", help="the model's first choice; `top=5`: its first five, one map each", keys={"top": count})
@dataclass(frozen=True)
class Top(TargetKind):
    """The model's first choice; a *count* above 1 asks for several targets."""

    count: int = 1


@register_kind("281", "a label", help="the score of a class, by index or name; `#281` is always an index")
@dataclass(frozen=True)
class Class(TargetKind):
    """The score of a class."""

    label: Label

    def __str__(self) -> str:
        return str(self.label)


_ANY = "any:"
_RANGE = re.compile(r"#?(\d{1,18})-#?(\d{1,18})")


def _group(words: str, names: Collection[str]) -> Group | None:
    """Read ``any:A,B``: numbers, ranges of numbers such as 281-285, and words."""
    if not words.startswith(_ANY):
        return None
    members, at = dict[Label, None](), len(_ANY)
    for part in words[at:].split(","):
        members |= dict.fromkeys(_members(words, at + len(part) - len(part.lstrip()), part.strip(), names))
        at += len(part) + 1
    numbers = sorted(one for one in members if isinstance(one, int))
    return Group((*(one for one in members if isinstance(one, str)), *numbers))


def _members(words: str, at: int, part: str, names: Collection[str]) -> list[Label]:
    span = None if labelling.folded(part) in names else _RANGE.fullmatch(part)
    if not part:
        fail(words, at, "a class is missing here; any: takes words, numbers and ranges, such as any:cat,281-285")
    if _ANY in part:
        fail(words, at, "a contrast has two sides, such as any:cat-any:dog")
    if span is None:
        return [label(words, at, part, names)]
    first, last = map(int, span.groups())
    if not first <= last < first + _MOST_MEMBERS:
        fail(words, at, f"{part!r} is no range of classes; the first one comes first, such as 281-285")
    return list(range(first, last + 1))


_MOST_MEMBERS = 1_000_000
"""The most classes in a range."""


@register_kind(
    "any:cat",
    "any:281-285",
    help="the log-sum-exp of the scores of several classes: those that a word finds, numbers and ranges, with commas; "
    "281-285 alone is a difference",
    read=lambda words, names: None if _contrast(words, names) else _group(words, names),
)
@dataclass(frozen=True)
class Group(TargetKind):
    """The log-sum-exp of the scores of several classes: indices, and words that find classes."""

    members: tuple[Label, ...]

    def __str__(self) -> str:
        numbers = [one for one in self.members if isinstance(one, int)]
        named = [one for one in self.members if isinstance(one, str)]
        return _ANY + ",".join([*named, *([ranges(sorted(numbers))] if numbers else [])])


Side: TypeAlias = "Label | Group"
"""A class, or several."""


def _contrast(words: str, names: Collection[str]) -> Contrast | None:
    """Read ``A-B``: two numbers, two class names, which may contain hyphens, or groups of classes."""
    for place in (match.start() for match in re.finditer("-", words)):
        pair = words[:place].strip(), words[place + 1 :].strip()
        if all(_is_side(part, names) for part in pair) and not _is_range(words, pair):
            return Contrast(_side(words, 0, pair[0], names), _side(words, place + 1, pair[1], names))
    return None


def _is_range(words: str, pair: tuple[str, str]) -> bool:
    """Return whether the hyphen between *pair* is that of a range at the end of a group."""
    last = words.rpartition(",")[2].removeprefix(_ANY)
    return words.startswith(_ANY) and not pair[1].startswith(_ANY) and _RANGE.fullmatch(last.strip()) is not None


def _is_side(part: str, names: Collection[str]) -> bool:
    rest = part.removeprefix(_ANY)
    return bool(rest) and _ANY not in rest if rest != part else _is_label(part, names)


def _is_label(part: str, names: Collection[str]) -> bool:
    return part.isdigit() or part == "top" or INDEX.fullmatch(part) is not None or labelling.folded(part) in names


def _side(words: str, at: int, part: str, names: Collection[str]) -> Side:
    return _group(part, names) or label(words, at, part, names)


def _against(words: str, names: Collection[str]) -> Against | None:
    return Against(_side(words, 4, words[4:].strip(), names)) if words.startswith("not ") else None


@register_kind("not 281", help="the negative score of a class: the evidence against it", read=_against)
@dataclass(frozen=True)
class Against(TargetKind):
    """The negative score of a class, or of several."""

    label: Side

    def __str__(self) -> str:
        return f"not {self.label}"


@register_kind(
    "281-285",
    "any:cat-any:dog",
    help="the score of a class, or of several, minus that of another; a range is any:281-285",
    read=_contrast,
)
@dataclass(frozen=True)
class Contrast(TargetKind):
    """The score of a class, or of several, minus that of another."""

    label: Side
    against: Side

    def __str__(self) -> str:
        return f"{self.label}-{self.against}"
