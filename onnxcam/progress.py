"""Callbacks of long computations: ``progress=`` shows how far they are, ``told=`` takes each result in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

__all__ = [
    "Progress",
    "Told",
    "quiet",
    "untold",
    "values_in_words",
]

Progress: TypeAlias = Callable[[Iterable[Any], int], Iterable[Any]]
"""Function that wraps an iterable of known length and shows its progress, such as a progress bar."""


def quiet(samples: Iterable[Any], total: int) -> Iterable[Any]:
    """Show nothing."""
    return samples


Told: TypeAlias = Callable[[str], None]
"""Function that takes a result in words, such as ``cat.jpg: iou 0.62``, as soon as it is there."""


def untold(words: str) -> None:
    """Do nothing."""


def values_in_words(values: Mapping[str, float], most: int = 3) -> str:
    """Return the first of *values*, at *most* so many, such as ``iou 0.620, pearson 0.810``."""
    return ", ".join(f"{name} {value:.3f}" for name, value in list(values.items())[:most])
