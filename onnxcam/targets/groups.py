"""Which classes of a classifier a target means: an index, a name, or a group."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from onnxcam.errors import LabelError, TargetError
from onnxcam.metadata import labels as labelling
from onnxcam.metadata.class_words import classes_of, suggestion, word_group
from onnxcam.targets.class_kinds import Class, Group, Side
from onnxcam.targets.notation import Label
from onnxcam.targets.notation import label as read_label
from onnxcam.targets.registry import TargetKind

__all__ = ["class_index", "members", "offering_groups", "said", "single_class"]

_SHOWN = 5
"""The most classes of a group that are named."""


def class_index(label: Label, classes: int, labels: Sequence[str] | None) -> int:
    """Return the index of the class *label*; TargetError for an index out of range or an unknown name.

    A number in words is the class of that name if there is one, else an index; ``#3`` is always an index.
    """
    if isinstance(label, str):
        label = read_label(label, 0, label, labelling.places(labels or ()))
    if isinstance(label, str):
        return labelling.index(label, _known(label, classes, labels))
    if not 0 <= label < classes:
        raise TargetError(f"class {label} is out of range: the model has {classes} classes, 0 to {classes - 1}")
    return label


def single_class(kind: TargetKind, classes: int, labels: Sequence[str] | None) -> int:
    """Return the index of the class *kind*, or of a group of one class; TargetError for any other target."""
    if isinstance(kind, Class):
        return class_index(kind.label, classes, labels)
    found = members(kind, classes, labels) if isinstance(kind, Group) else ()
    if len(found) == 1:
        return found[0]
    shown = labels or [str(one) for one in range(classes)]
    several = f" is {_count(found)} ({_some(found, shown.__getitem__)})" if found else ""
    raise TargetError(f"target {str(kind)!r}{several}: classifiers are compared by one class; give an index or a label")


@contextmanager
def offering_groups(label: Label, labels: Sequence[str] | None) -> Iterator[None]:
    """Offer the group that the word *label* means where no class has this name."""
    try:
        yield
    except LabelError as error:
        names = labels or ()
        target, found = word_group(label, names) if isinstance(label, str) else (None, ())
        if target is None:
            raise
        some = f"{_count(found)}, {_some(found, names.__getitem__)}"
        raise LabelError(
            f"no class is named {label!r}; the target {shlex.quote(target)} explains {some} "
            f"(`onnxcam labels MODEL {shlex.quote(str(label))}` lists them)"
        ) from error


def members(group: Group, classes: int, labels: Sequence[str] | None) -> tuple[int, ...]:
    """Return the indices of the classes of *group*, rising; TargetError for a word that finds none."""
    found = set[int]()
    for one in group.members:
        found.update(_of_word(one, classes, labels) if isinstance(one, str) else [class_index(one, classes, labels)])
    return tuple(sorted(found))


def said(sides: Sequence[Side], found: Sequence[Sequence[int]], words: Callable[[int], str], *, exclusive: bool) -> str:
    """Return which classes *found* the groups among *sides* hold, for the user; empty without a group.

    Of classes that are not *exclusive* it adds what score and probability then mean.
    """
    pairs = zip(sides, found, strict=True)
    groups = [_named(side, classes, words) for side, classes in pairs if isinstance(side, Group)]
    return "; ".join([*groups, *([_SOFT_MAXIMUM] if groups and not exclusive else [])])


_SOFT_MAXIMUM = (
    "these classes do not exclude each other: the score of several is their soft maximum, the probability the highest"
)


def _named(group: Group, classes: Sequence[int], words: Callable[[int], str]) -> str:
    return f"{group} is {_count(classes)}: {_some(classes, words)}"


def _count(classes: Sequence[int]) -> str:
    return f"{len(classes)} {'class' if len(classes) == 1 else 'classes'}"


def _some(classes: Sequence[int], words: Callable[[int], str]) -> str:
    return ", ".join(map(words, classes[:_SHOWN])) + (", …" if len(classes) > _SHOWN else "")


def _of_word(word: str, classes: int, labels: Sequence[str] | None) -> Sequence[int]:
    known = _known(word, classes, labels)
    if found := classes_of(word, known):
        return found
    more = suggestion(word, known) or " `onnxcam labels MODEL WORD` looks for others."
    raise TargetError(f"no class has the word {word!r}.{more}")


def _known(label: str, classes: int, labels: Sequence[str] | None) -> Sequence[str]:
    if labels is None:
        raise TargetError(
            f"target {label!r} is a label, but the model's labels are not known; "
            f"give a class index from 0 to {classes - 1}, or --labels FILE"
        )
    return labels
