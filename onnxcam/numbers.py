"""Numbers that are read: each is finite and within bounds; else the reader says which bounds."""

from __future__ import annotations

import math
from typing import Any

HUGE = 1e9
"""No number of a preprocessing, a setting or a requirement is larger: sums and squares of them stay finite."""

MANY = 10**6
"""No setting asks for more of anything, but for these."""
_MOST = {"cells": 256, "kernel": 255, "segments": 4096, "batch_size": 4096, "seed": 2**32 - 1}


def most(setting: str) -> int:
    """Return the largest whole number that a setting of that name may be."""
    return _MOST.get(setting, MANY)


def setting(name: str, value: Any, default: float, low: float) -> tuple[float | None, str]:
    """Return the setting *name*, a number as *default* is, None where it is none from *low*; and what it must be."""
    if isinstance(default, int):
        return whole(value, int(low), most(name)), f"a whole number from {low:g} to {most(name)}"
    return real(value, low), f"a number from {low:g} to {HUGE:g}"


def real(value: Any, low: float = -HUGE, high: float = HUGE) -> float | None:
    """Return *value*, a number or its digits, None where it is none, or not from *low* to *high*."""
    try:
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if math.isfinite(read) and low <= read <= high else None


def whole(value: Any, low: int, high: int) -> int | None:
    """Return *value*, a whole number or its digits, None where it is none, or not from *low* to *high*."""
    try:
        read = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if (isinstance(value, str) or read == value) and low <= read <= high else None
