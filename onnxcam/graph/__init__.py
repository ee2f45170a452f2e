"""ONNX files and nodes: read, write, check, emit and fold them. Nothing here differentiates."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Return a name of version 0.1's ``onnxcam.graph`` from its new module."""
    from onnxcam import _moved

    io = importlib.import_module("onnxcam.graph.io")
    if name.startswith("_") or not hasattr(io, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _moved.warn(f"{__name__}.{name}", f"onnxcam.graph.io.{name}")
    return getattr(io, name)
