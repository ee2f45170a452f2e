"""The libraries of the extras, which some methods need: imported at their first use."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from onnxcam.errors import MethodError
from onnxcam.methods.base import METHODS

__all__ = ["library"]


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
