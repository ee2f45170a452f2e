"""Keras files: ``.keras``, and ``.h5`` of Keras 2 and 3."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from onnxcam.errors import ConversionError
from onnxcam.graph import first_line
from onnxcam_converters.tf2onnx_bridge import quiet


def load(path: Path, unsafe: bool) -> Any:
    """Return the Keras model in the file at *path*; Lambda layers, which are code, only if *unsafe*."""
    import keras

    with quiet():
        try:
            return keras.models.load_model(path, _legacy(), compile=False, safe_mode=not unsafe)
        except Exception as error:
            raise ConversionError(
                _why(path, str(error)) or f"'{path}' cannot be loaded: {first_line(error)}"
            ) from error


def _why(path: Path, text: str) -> str | None:
    if "safe_mode" in text:
        return (
            f"'{path}' holds Python code (a Lambda layer), which is not run; if you trust the file, add --unsafe-pickle"
        )
    missing = re.search(r"Could not locate (?:class|function) '(\w+)'|Unknown layer: '?(\w+)", text)
    if missing:
        name = missing[1] or missing[2]
        return (
            f"'{path}' needs the Python class {name!r}, which is not in it; load it where that class is defined "
            "and pass the model itself: onnxcam.converters.from_tensorflow(model, path)"
        )
    if "No model config found" in text or "no model config" in text.lower():
        return f"'{path}' holds weights only; build the model in Python, load them, and pass the model itself"
    return None


def _legacy() -> dict[str, Any]:
    """Return layers that also read what Keras 2 wrote and Keras 3 refuses: ``groups`` of a depthwise convolution."""
    import keras

    class DepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
        def __init__(self, *args: Any, groups: int = 1, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    return {"DepthwiseConv2D": DepthwiseConv2D}
