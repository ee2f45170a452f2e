"""Progress callbacks: the argument ``progress=`` of long computations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

__all__ = [
    "Progress",
    "quiet",
]

Progress: TypeAlias = Callable[[Iterable[Any], int], Iterable[Any]]
"""Function that wraps an iterable of known length and shows its progress, such as a progress bar."""


def quiet(samples: Iterable[Any], total: int) -> Iterable[Any]:
    """Show nothing."""
    return samples
