"""Parse numbers given by the user: finite, and within bounds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from onnxcam.errors import OnnxcamError, nearest
from onnxcam.text import in_message

__all__ = ["HUGE", "MANY", "largest_setting", "parse_float", "parse_int", "parse_setting", "read_settings"]

HUGE = 1e9
"""Largest number in a preprocessing, setting or requirement; sums and squares stay finite."""

MANY = 10**6
"""Largest whole number in a setting, except those in `_MOST`."""
_MOST = {
    "cells": 256,
    "kernel": 255,
    "spread": 255,
    "side": 4096,
    "segments": 4096,
    "batch_size": 4096,
    "seed": 2**32 - 1,
}


def largest_setting(setting: str) -> int:
    """Return the largest whole number allowed for a setting."""
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
        read: From name, value and default to the setting, or None, and what it must be (such as `parse_setting`).
        error: Raised for an unknown name or a wrong value.
    """
    for name in given:
        if name not in defaults:
            there = ", ".join(f"{key}={value}" for key, value in defaults.items()) or "none"
            raise error(f"{owner} has no setting {name!r}; there are {there}.{nearest(name, defaults)}")
    settings = {}
    for name, default in defaults.items():
        if default is inspect.Parameter.empty:
            raise error(f"the setting {name} of {owner} has no default; give its parameter one")
        value = given.get(name, default)
        settings[name], words = read(name, value, default)
        if settings[name] is None:
            raise error(f"the setting {name} of {owner} is {words}, not {in_message(repr(value))}")
    return settings


def parse_setting(name: str, value: Any, default: float, low: float) -> tuple[float | None, str]:
    """Parse the setting *name*, an integer or float like *default*; return None if invalid, and the allowed range."""
    if isinstance(default, int):
        return parse_int(
            value, int(low), largest_setting(name)
        ), f"a whole number from {low:g} to {largest_setting(name)}"
    return parse_float(value, low), f"a number from {low:g} to {HUGE:g}"


def parse_float(value: Any, low: float = -HUGE, high: float = HUGE) -> float | None:
    """Return *value*, a number or its text, as float; None if it is invalid or not from *low* to *high*."""
    try:
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if math.isfinite(read) and low <= read <= high else None


def parse_int(value: Any, low: int, high: int) -> int | None:
    """Return *value*, a whole number or its text, as int; None if it is invalid or not from *low* to *high*."""
    try:
        read = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if (isinstance(value, str) or read == value) and low <= read <= high else None
