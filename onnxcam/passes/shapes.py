"""Infer the shapes and dtypes of all tensors, as far as they are known before the model runs."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from onnxcam.graph.compositions import Compositions
from onnxcam.graph.infer import LONG, infer_model
from onnxcam.graph.subgraph import graphs
from onnxcam.passes.bounds import refuse_giants
from onnxcam.passes.loops import declare, doubt_loops, fill_loops

__all__ = ["SHAPELESS", "infer_shapes"]

SHAPELESS = frozenset(("GroupNormalization", "MeanVarianceNormalization"))
"""Operators whose output has the shape and dtype of their input, which onnx cannot infer."""


def infer_shapes(model: ir.Model, compositions: Compositions | None = None, anew: bool = False) -> None:
    """Infer shapes and dtypes in place; tensors after operators of unknown domains stay unknown.

    *compositions* give the shapes of operators that onnx does not know. *anew*: infer also if all are known, as the
    graph has changed.
    """
    declared = doubt_loops(model)
    known = all(_is_known(y) for graph in graphs(model.graph) for node in graph for y in node.outputs if y.name)
    if known and not anew and not declared:
        return
    values = refuse_giants(model) <= LONG
    infer_model(model, values)
    composed = compositions or Compositions()
    while _fill(model.graph) or composed.infer(model.graph) or fill_loops(model) or declare(declared):
        infer_model(model, values)


def _is_known(value: ir.Value) -> bool:
    return value.dtype is not None and value.shape is not None and not value.shape.has_unknown_dim()


def _fill(graph: ir.Graph) -> bool:
    """Set shapes and dtypes that onnx cannot infer; return whether there were any."""
    filled = False
    for node in graph:
        if node.op_type == "Reshape" and node.domain == "":
            filled |= _complete(node.inputs[0], node.outputs[0])
        if node.op_type in SHAPELESS and node.domain == "":
            x, y = node.inputs[0], node.outputs[0]
            if x is not None and x.shape is not None and y.shape is None:
                y.shape, y.type = x.shape, x.type
                filled = True
    return filled


def _complete(x: ir.Value | None, y: ir.Value) -> bool:
    """Compute the one unknown length of a reshape from the number of elements; return whether there was one.

    PyTorch's older exporter flattens to a shape computed at run time; onnx does not divide by an open batch size.
    """
    if x is None or x.shape is None or y.shape is None:
        return False
    old, new = list(x.shape), list(y.shape)
    for length in y.shape:
        if length in old and (isinstance(length, int) or length.value is not None):
            old.remove(length)
            new.remove(length)
    opened = [length for length in new if not isinstance(length, int)]
    counts = [length for length in old if isinstance(length, int)]
    if len(opened) != 1 or len(counts) != len(old):
        return False
    count, known = prod(counts), prod(length for length in new if isinstance(length, int))
    if not count or not known or count % known:
        return False
    y.shape = ir.Shape([count // known if length == opened[0] else length for length in y.shape])
    return True
