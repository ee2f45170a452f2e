"""The least part of a ranking for which something holds, found by few tries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["least"]

_Holds = Callable[[Sequence[str]], bool]
_TRIES = 48
"""Number of tries to leave some out."""


def least(ranking: Sequence[str], holds: _Holds) -> list[str] | None:
    """Return few of *ranking* for which *holds* is true; None if it is not true of all, or there are none.

    The first 1, 2, 4, … are tried, then numbers in between. Then halves, quarters, … and single ones are left out.
    """
    low, high = 0, 1
    if not ranking:
        return None
    while not holds(ranking[:high]):
        if high >= len(ranking):
            return None
        low, high = high, min(2 * high, len(ranking))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(ranking[:middle]) else (middle, high)
    return _without_idle(list(ranking[:high]), holds)


def _without_idle(kept: list[str], holds: _Holds) -> list[str]:
    """Return *kept* without those that are not needed."""
    size, tries = len(kept) // 2, 0
    while size:
        start = 0
        while start < len(kept) and tries < _TRIES:
            others = [*kept[:start], *kept[start + size :]]
            tries += bool(others)
            if others and holds(others):
                kept = others
            else:
                start += size
        size //= 2
    return kept
