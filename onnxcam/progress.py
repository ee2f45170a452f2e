"""How far a long computation is: what is passed as ``progress=``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

Progress: TypeAlias = Callable[[Iterable[Any], int], Iterable[Any]]
"""Wraps the samples of a procedure, of which there are so many, to show how far it is."""


def quiet(samples: Iterable[Any], total: int) -> Iterable[Any]:
    """Show nothing."""
    return samples
