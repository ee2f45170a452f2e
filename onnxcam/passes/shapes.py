"""Shapes and dtypes of every tensor are inferred, as far as they are known before the model runs."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass


def infer_shapes(model: ir.Model) -> None:
    """Infer shapes and dtypes in place; tensors behind operators of unknown domains stay unknown.

    Some exporters write -1 for an open dimension, which is none of the standard's: it becomes an unknown one.
    """
    for value in [*model.graph.inputs, *(y for node in model.graph for y in node.outputs)]:
        if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
            value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
