"""What an audit says: findings that are tested, and lists of pictures worth a look."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "Listed"]


@dataclass(frozen=True)
class Finding:
    """Something that is not chance, by a test corrected for all tests of its kind.

    Attributes:
        kind: ``shortcut``: the network looks at what a part of a class shares; ``artefact``: it shares a look, and the
            maps there are those of the rest of the class; ``slice``: more errors where a column has a value.
        label: Class; empty for a slice.
        cluster: Name of the pictures: class and number, or column and value.
        ids: Pictures.
        place: Where in the picture; empty for a slice.
        strength: Logarithm of the likelihood ratio of the property in this part and elsewhere. Sorts findings.
        p: p-value, corrected for the number of tests.
        share: Share of the class, or error rate of the slice.
        elsewhere: Share of the rows of other classes that have the property, or error rate outside the slice.
        why: Why it is suspicious.
        check: What to check.
    """

    kind: str
    label: str
    cluster: str
    ids: tuple[str, ...]
    place: str
    strength: float
    p: float
    share: float
    elsewhere: float
    why: str
    check: str


@dataclass(frozen=True)
class Listed:
    """A picture of a list that no test has judged.

    Attributes:
        kind: ``wrong reason``, ``confident error``, ``outlier`` or ``near duplicates``.
        label: Class.
        ids: The picture, or the near duplicates.
        value: The number that sorts the list, the worst first.
        why: The number in words.
    """

    kind: str
    label: str
    ids: tuple[str, ...]
    value: float
    why: str
