"""Describe an exception of a framework in one line, with the place in the user's code."""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxcam.errors import ConversionError
from onnxcam.text import first_line

__all__ = ["describe_error", "import_framework", "innermost_message", "user_code_location"]

_OURS = str(Path(__file__).parent)
_FRAMEWORKS = re.compile(r"[/\\]site-packages[/\\](torch|tensorflow|keras|tf2onnx|jax|onnx\w*)[/\\]|^<")


def import_framework(module: str, name: str, extra: str = "") -> Any:
    """Import *module* and return it; ConversionError names the extra to install if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConversionError(
            f'{name} cannot be imported ({error}); pip install "onnxcam[{extra or module}]"'
        ) from None


def describe_error(error: BaseException) -> str:
    """Return the first line of the innermost message, and the place in the user's code if there is one."""
    place = user_code_location(error)
    return innermost_message(error) + (f" (at {place})" if place else "")


def innermost_message(error: BaseException) -> str:
    """Return the first line of the exception that *error* was first raised from, without a final period."""
    *_, inner = _chain(error)
    return first_line(inner).rstrip(".")


def user_code_location(error: BaseException) -> str:
    """Return ``file.py:12``, the innermost line of the traceback outside frameworks and onnxcam; else ``""``."""
    places = [
        f"{frame.filename}:{frame.lineno}"
        for each in _chain(error)
        for frame in traceback.extract_tb(each.__traceback__)
        if not _FRAMEWORKS.search(frame.filename) and not frame.filename.startswith(_OURS)
    ]
    return places[-1] if places else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error*, its cause, the cause's cause, …"""
    while error is not None:
        yield error
        error = error.__cause__
