"""Unexpected exceptions on invalid models -> ModelError with ONNX Runtime's reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onnxcam.engine import Session
from onnxcam.errors import EngineError, ModelError, OnnxcamError
from onnxcam.graph.io import ModelLike, load

__all__ = ["explaining_invalid_models"]


@contextmanager
def explaining_invalid_models(model: ModelLike) -> Iterator[None]:
    """Raise ModelError for an unexpected exception if ONNX Runtime refuses *model* too, with its reason."""
    try:
        yield
    except OnnxcamError:
        raise
    except Exception as error:
        why = _refusal(model)
        if not why:
            raise
        raise ModelError(f"the model is not valid: {why}") from error


def _refusal(model: ModelLike) -> str:
    try:
        Session(load(model), "cpu", optimize=False)
    except EngineError as error:
        return str(error)
    return ""
