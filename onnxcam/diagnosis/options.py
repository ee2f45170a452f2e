"""The options that diagnose and repair take for their models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onnxcam.errors import DiagnosisError, nearest
from onnxcam.numbers import parse_int

__all__ = ["OPTIONS", "check_options"]

OPTIONS = ("method", "layer", "preprocess", "labels", "provider", "settings", "inputs", "objects")
"""Options of both models, as for `onnxcam.compare.observer.Observer`."""
_MOST = 100  # objects that are explained in an image


def check_options(function: str, options: Mapping[str, Any], own: Iterable[str] = ()) -> None:
    """Check the *options* of *function*, which has its *own* ones beside `OPTIONS`.

    Raises:
        TypeError: there is no option of this name.
        DiagnosisError: the number of objects is out of range.
    """
    known = [*own, *OPTIONS]
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"{function}() has no option {name!r}; it has {', '.join(known)}.{nearest(name, known)}")
    if "objects" in options and parse_int(options["objects"], 1, _MOST) is None:
        raise DiagnosisError(f"objects is {options['objects']!r}; give a whole number from 1 to {_MOST}")
