"""Weights that are listed as inputs become constants."""

from __future__ import annotations

import onnx_ir as ir


def fix_weights(model: ir.Model) -> None:
    """Take initializers out of the graph's inputs, in place: a runtime then knows that they never change.

    Files before IR version 4 had to list them; the version is raised to the one that goes with opset 21.
    """
    model.ir_version = max(model.ir_version, 10)
    inputs = model.graph.inputs
    inputs[:] = [value for value in inputs if not value.is_initializer()]
