"""Shapes and dtypes of every tensor are inferred, as far as they are known before the model runs."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

SHAPELESS = frozenset(("GroupNormalization", "MeanVarianceNormalization"))
"""Operators whose output is like their input, which onnx cannot infer."""


def infer_shapes(model: ir.Model) -> None:
    """Infer shapes and dtypes in place; tensors behind operators of unknown domains stay unknown."""
    if all(_is_known(y) for node in model.graph for y in node.outputs):
        return
    infer = ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)
    infer(model)
    while _fill(model.graph):
        infer(model)


def _is_known(value: ir.Value) -> bool:
    return value.dtype is not None and value.shape is not None and not value.shape.has_unknown_dim()


def _fill(graph: ir.Graph) -> bool:
    """Give outputs that onnx could not infer the shape and dtype of their inputs; tell whether there were any."""
    filled = False
    for node in graph:
        if node.op_type in SHAPELESS and node.domain == "":
            x, y = node.inputs[0], node.outputs[0]
            if x is not None and x.shape is not None and y.shape is None:
                y.shape, y.type = x.shape, x.type
                filled = True
    return filled
