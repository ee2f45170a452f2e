"""A ``tokenizer.json``, read by the library tokenizers, whose errors are turned. The only importer of that library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxcam import paths
from onnxcam.errors import ModelError
from onnxcam.text import first_line

__all__ = ["read_tokenizer", "tokenizers_library", "translated"]


def tokenizers_library() -> Any:
    """Return the library; ModelError where it is not installed."""
    try:
        import tokenizers
    except ImportError:
        raise ModelError(
            "a text as target needs the package tokenizers, which is not installed; pip install 'onnxcam[text]'"
        ) from None
    return tokenizers


def read_tokenizer(path: Path) -> Any:
    """Return the tokenizer in the file *path*; ModelError where it is none."""
    found, text = tokenizers_library(), paths.read_text(path, ModelError, "tokenizer")
    with translated(path):
        return found.Tokenizer.from_str(text)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise ModelError for what goes wrong with the tokenizer at *path*. The library raises bare exceptions."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        why = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
        raise ModelError(
            f"{path}: is no tokenizer that the library tokenizers reads ({why}); give the tokenizer.json of the text "
            "model"
        ) from None
