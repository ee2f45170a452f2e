"""Remove weights from the graph's inputs, and mark open dimensions as the standard does."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["fix_inputs"]


def fix_inputs(model: ir.Model) -> None:
    """Remove initializers from the graph's inputs, make dimensions of -1 unknown, and raise the IR version, in place.

    Files before IR version 4 had to list their weights as inputs, so that a runtime treats them as variable. The new
    version is 8, the one of opset 18.
    """
    model.ir_version = max(model.ir_version, 8)
    inputs = model.graph.inputs
    inputs[:] = [value for value in inputs if not value.is_initializer()]
    for value in [*inputs, *(y for node in model.graph for y in node.outputs)]:
        if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
            value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])
