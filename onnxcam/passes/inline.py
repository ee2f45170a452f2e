"""Replace model-local functions by their bodies."""

from __future__ import annotations

from collections.abc import Container

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnxcam.errors import ModelError
from onnxcam.text import first_line

__all__ = ["inline_functions"]


def inline_functions(model: ir.Model, known: Container[tuple[str, str]]) -> None:
    """Inline the functions of *model* in place, except those whose (domain, name) is in *known*."""
    if not model.functions:
        return
    try:
        InlinePass(lambda function: (function.domain, function.name) not in known)(model)
    except Exception as error:
        raise ModelError(f"the model's functions cannot be inlined: {first_line(error)}; export it again") from error
