"""Reductions and running sums over axes."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.rules import Gradients, V, rule


@rule("ReduceSum")
def reduce_sum(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = Σ x: every summand gets dy."""
    if not node.attributes.get_int("keepdims", 1) and axes is not None:
        dy = op.Unsqueeze(dy, axes)
    return op.Expand(dy, op.Shape(x)), None
