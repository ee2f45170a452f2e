"""Find the TFLite interpreter: LiteRT if installed, otherwise TensorFlow Lite."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, NamedTuple

__all__ = ["TFLiteRuntime", "find_runtime"]


class TFLiteRuntime(NamedTuple):
    """Name of a TFLite runtime, its ``Interpreter`` and its ``OpResolverType``."""

    name: str
    interpreter: Any
    op_resolvers: Any


def find_runtime() -> TFLiteRuntime | None:
    """Return the TFLite runtime; None if none is installed. TensorFlow announces the removal of its own."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        lite = importlib.import_module("ai_edge_litert.interpreter")
        return TFLiteRuntime("LiteRT", lite.Interpreter, lite.OpResolverType)
    if importlib.util.find_spec("tensorflow") is not None:
        lite = importlib.import_module("tensorflow").lite
        return TFLiteRuntime("TensorFlow Lite", lite.Interpreter, lite.experimental.OpResolverType)
    return None
