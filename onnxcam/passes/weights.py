"""Weights that are listed as inputs become constants."""

from __future__ import annotations

import onnx_ir as ir


def fix_weights(model: ir.Model) -> None:
    """Take initializers out of the graph's inputs, in place: a runtime then knows that they never change."""
    inputs = model.graph.inputs
    inputs[:] = [value for value in inputs if not value.is_initializer()]
