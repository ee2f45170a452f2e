"""Read numbers and settings from a user: each number is finite and within bounds, else the error says which bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from onnxcam.errors import OnnxcamError, nearest
from onnxcam.text import visible

__all__ = ["HUGE", "MANY", "most", "read_settings", "real", "setting", "whole"]

HUGE = 1e9
"""The largest real number that is read: sums and squares stay finite."""
MANY = 10**6
"""The largest whole number that a setting may be, except those of `_MOST`."""
_MOST = {"cells": 256, "kernel": 255, "segments": 4096, "batch_size": 4096, "seed": 2**32 - 1}


def most(setting: str) -> int:
    """Return the largest whole number that the setting *setting* may be."""
    return _MOST.get(setting, MANY)


def read_settings(
    owner: str,
    defaults: Mapping[str, Any],
    given: Mapping[str, Any],
    read: Callable[[str, Any, Any], tuple[Any, str]],
    error: type[OnnxcamError],
) -> dict[str, Any]:
    """Return the settings of *owner*, a method or metric: *given* by name, as words or values, else the *defaults*.

    Args:
        read: From name, value and default to the setting, or None, and what it must be (such as `setting`).
        error: Raised for an unknown name or a wrong value.
    """
    for name in given:
        if name not in defaults:
            there = ", ".join(f"{key}={value}" for key, value in defaults.items()) or "none"
            raise error(f"{owner} has no setting {name!r}; there are {there}.{nearest(name, defaults)}")
    settings = {}
    for name, default in defaults.items():
        value = given.get(name, default)
        settings[name], words = read(name, value, default)
        if settings[name] is None:
            raise error(f"the setting {name} of {owner} is {words}, not {visible(repr(value))}")
    return settings


def setting(name: str, value: Any, default: float, low: float) -> tuple[float | None, str]:
    """Return the setting *name* as a number of the type of *default*, or None if it is not; and its bounds in words."""
    if isinstance(default, int):
        return whole(value, int(low), most(name)), f"a whole number from {low:g} to {most(name)}"
    return real(value, low), f"a number from {low:g} to {HUGE:g}"


def real(value: Any, low: float = -HUGE, high: float = HUGE) -> float | None:
    """Return *value*, a number or its digits; None if it is not a number from *low* to *high*."""
    try:
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if math.isfinite(read) and low <= read <= high else None


def whole(value: Any, low: int, high: int) -> int | None:
    """Return *value*, a whole number or its digits; None if it is not a whole number from *low* to *high*."""
    try:
        read = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if (isinstance(value, str) or read == value) and low <= read <= high else None
