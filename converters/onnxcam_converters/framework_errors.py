"""What went wrong inside a framework, in one line, and where in the user's code."""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxcam.errors import ConversionError

_OURS = str(Path(__file__).parent)
_FRAMEWORKS = re.compile(r"[/\\]site-packages[/\\](torch|tensorflow|keras|tf2onnx|jax|onnx\w*)[/\\]|^<")


def import_framework(module: str, name: str, extra: str = "") -> Any:
    """Import a framework; ConversionError that says which extra to install where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConversionError(
            f'{name} cannot be imported ({error}); pip install "onnxcam[{extra or module}]"'
        ) from None


def describe(error: BaseException) -> str:
    """Return what *error* says first, and the place in the user's code that it comes from."""
    place = user_code_location(error)
    return innermost_message(error) + (f" (at {place})" if place else "")


def innermost_message(error: BaseException) -> str:
    """Return the first line of the innermost message."""
    inner = list(_chain(error))[-1]
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(inner).__name__


def user_code_location(error: BaseException) -> str:
    """Return ``file.py:12`` of the last line outside the frameworks that *error* came through, or nothing."""
    places = [
        f"{frame.filename}:{frame.lineno}"
        for each in _chain(error)
        for frame in traceback.extract_tb(each.__traceback__)
        if not _FRAMEWORKS.search(frame.filename) and not frame.filename.startswith(_OURS)
    ]
    return places[-1] if places else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error* and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__
