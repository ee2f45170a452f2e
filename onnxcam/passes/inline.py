"""Model-local functions are replaced by their bodies."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnxcam.autodiff.rules import RuleSet
from onnxcam.errors import ModelError
from onnxcam.graph import first_line


def inline_functions(model: ir.Model, rules: RuleSet) -> None:
    """Inline every function of *model* for which *rules* has no row, in place."""
    if not model.functions:
        return
    try:
        InlinePass(lambda function: (function.domain, function.name) not in rules)(model)
    except ir.passes.PassError as error:
        raise ModelError(f"the model's functions cannot be inlined: {first_line(error)}") from None
