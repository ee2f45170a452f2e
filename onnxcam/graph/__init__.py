"""ONNX files and their nodes: read, written, checked, emitted and folded; nothing here knows a derivative."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Find what ``onnxcam.graph`` held in 0.1 where it is now."""
    from onnxcam import _moved

    io = importlib.import_module("onnxcam.graph.io")
    if name.startswith("_") or not hasattr(io, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _moved.warn(f"{__name__}.{name}", f"onnxcam.graph.io.{name}")
    return getattr(io, name)
