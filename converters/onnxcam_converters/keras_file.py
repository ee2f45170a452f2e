"""Load Keras files: ``.keras``, and ``.h5`` of Keras 2 and 3."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from onnxcam.errors import ConversionError
from onnxcam.text import first_line
from onnxcam_converters.code_scan import archive_members, refuse_code
from onnxcam_converters.code_scan_keras import LAMBDA, code_in_keras, missing_code
from onnxcam_converters.quiet import quiet_tensorflow

__all__ = ["load_keras"]


def load_keras(path: Path, unsafe: bool) -> Any:
    """Return the Keras model in the file at *path*.

    ConversionError if the file is damaged, has weights only, or (unless *unsafe*) could run code.
    """
    import keras

    archive_members(path)
    with quiet_tensorflow():
        try:
            refuse_code(path, code_in_keras(path), unsafe)
            return keras.models.load_model(path, _legacy(), compile=False, safe_mode=not unsafe)
        except ConversionError:
            raise
        except Exception as error:
            raise _why(path, first_line(error), str(error)) from error


def _why(path: Path, line: str, text: str) -> ConversionError:
    if "safe_mode" in text:
        refuse_code(path, [LAMBDA], unsafe=False)
    missing = re.search(r"Could not locate (?:class|function) '(\w+)'|Unknown layer: '?(\w+)", text)
    if missing:
        return missing_code(path, "class", missing[1] or missing[2])
    if "no model config" in text.lower():
        return ConversionError(
            f"'{path}' holds weights only; build the model in Python, load them, and pass the model itself"
        )
    return ConversionError(f"'{path}' cannot be loaded: {line}")


def _legacy() -> dict[str, Any]:
    """Return layer classes that accept arguments of Keras 2 which Keras 3 refuses (``groups``)."""
    import keras

    class DepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
        def __init__(self, *args: Any, groups: int = 1, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    return {"DepthwiseConv2D": DepthwiseConv2D}
