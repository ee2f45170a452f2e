"""Model-local functions are replaced by their bodies."""

from __future__ import annotations

from collections.abc import Container

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass


def inline_functions(model: ir.Model, known: Container[tuple[str, str]]) -> None:
    """Inline every function of *model* that is not *known* by (domain, name), in place."""
    if model.functions:
        InlinePass(lambda function: (function.domain, function.name) not in known)(model)
