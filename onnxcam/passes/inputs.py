"""What the graph takes from outside: weights are no inputs, and an open dimension is spelt as the standard has it."""

from __future__ import annotations

import onnx_ir as ir


def fix_inputs(model: ir.Model) -> None:
    """Take initializers out of the graph's inputs and open dimensions of -1, in place.

    Files before IR version 4 had to list their weights as inputs; a runtime then takes them for variable. The version
    is raised to the one that goes with opset 18.
    """
    model.ir_version = max(model.ir_version, 8)
    inputs = model.graph.inputs
    inputs[:] = [value for value in inputs if not value.is_initializer()]
    for value in [*inputs, *(y for node in model.graph for y in node.outputs)]:
        if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
            value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])
