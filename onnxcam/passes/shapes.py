"""Shapes and dtypes of every tensor are inferred, as far as they are known before the model runs."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.autodiff.infer import infer_model
from onnxcam.autodiff.rules.compose import infer_composed

SHAPELESS = frozenset(("GroupNormalization", "MeanVarianceNormalization"))
"""Operators whose output is like their input, which onnx cannot infer."""


def infer_shapes(model: ir.Model, anew: bool = False) -> None:
    """Infer shapes and dtypes in place; tensors behind operators of unknown domains stay unknown.

    *anew*: also where all of them are known, as the graph has changed.
    """
    if not anew and all(_is_known(y) for graph in model.graphs() for node in graph for y in node.outputs if y.name):
        return
    infer_model(model)
    while _fill(model.graph) or infer_composed(model.graph) or _fill_loops(model):
        infer_model(model)


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


def _fill_loops(model: ir.Model) -> bool:
    """Give what loops carry as many axes as it starts with: onnx takes it that these may change, and tells nothing."""
    filled = False
    for node in [node for graph in model.graphs() for node in graph if node.op_type == "Loop"]:
        body = node.attributes["body"].as_graph()
        for x, before, after in zip(node.inputs[2:], body.inputs[2:], body.outputs[1:], strict=False):
            if x is not None and x.shape is not None and before.shape is None and after.shape is None:
                before.shape = ir.Shape([None] * len(x.shape))
                filled = True
    return filled
