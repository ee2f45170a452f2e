"""The libraries of the extras, which some methods need: imported at their first use."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import Any

from onnxcam.errors import MethodError
from onnxcam.methods.base import METHODS, Method

__all__ = ["library", "missing"]


def missing(method: Method) -> str:
    """Return which extra *method* needs and is not installed, as a command; an empty string if nothing is missing."""
    if all(importlib.util.find_spec(name) is not None for name in method.libraries):
        return ""
    return f'needs pip install "onnxcam[{method.extra}]"'


def library(method: str, name: str) -> Any:
    """Return the module *name*, which *method* needs; MethodError, naming the extra, where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of a library about its dependencies
            return importlib.import_module(name)
    except ImportError as error:
        raise MethodError(
            f"{method} is made by other libraries ({error}); pip install 'onnxcam[{METHODS[method].extra}]'"
        ) from None
