"""Numbers that are read: each is finite and within bounds; else the reader says which bounds."""

from __future__ import annotations

import math
from typing import Any

HUGE = 1e9
"""No number of a preprocessing, a setting or a requirement is larger: sums and squares of them stay finite."""


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
