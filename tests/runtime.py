"""What tests need to know of the installed ONNX Runtime."""

from __future__ import annotations

import onnxruntime
import pytest

__all__ = ["new_runtime"]

_MINOR = int(onnxruntime.__version__.split(".")[1])

new_runtime = pytest.mark.skipif(
    _MINOR < 25,
    reason=f"ONNX Runtime {onnxruntime.__version__} computes this file otherwise, or aborts when it loads it",
)
"""Skip a test of a file that ONNX Runtime 1.24 rounds otherwise, or cannot load with its gradient."""
