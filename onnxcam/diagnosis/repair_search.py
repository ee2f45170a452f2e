"""The least part of a ranking for which something holds, found by few tries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["least"]

Holds = Callable[[Sequence[str]], bool]
DROPPED = 16
"""Number of tries to leave one out."""


def least(ranking: Sequence[str], holds: Holds, start: int = 0) -> list[str] | None:
    """Return few of *ranking* for which *holds* is true; None if it is not true of all.

    The first 1, 2, 4, … are tried, then numbers in between, then one is left out at a time, from the last. *start* are
    taken in any case.
    """
    low, high = start, max(start, 1)
    while not holds(ranking[:high]):
        if high >= len(ranking):
            return None
        low, high = high, min(2 * high, len(ranking))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(ranking[:middle]) else (middle, high)
    return _without_idle(list(ranking[:high]), holds)


def _without_idle(kept: list[str], holds: Holds) -> list[str]:
    """Return *kept* without those that are not needed."""
    for one in list(reversed(kept))[1 : DROPPED + 1]:
        others = [other for other in kept if other != one]
        if others and holds(others):
            kept = others
    return kept
