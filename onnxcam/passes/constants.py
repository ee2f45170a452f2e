"""Compute the small values that follow from constants and static shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.graph.fold import FOLD_LIMIT, FOLDS, computed, constant
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.subgraph import graphs

__all__ = ["MORE", "fold_constants", "fold_shapes"]

_MEASURES = operators(Trait.MEASURES)


def fold_shapes(model: ir.Model) -> bool:
    """Fold constants, in place, in a model with tensors of unknown rank; return whether anything was folded.

    PyTorch's older exporter writes ``unflatten`` as a Reshape to slices of a shape, with computed bounds. onnx's
    inference knows the shape but not the bounds. Infer the shapes again and call it again until it returns False.
    """
    every = list(graphs(model.graph))
    if all(y.shape is not None or not y.name for graph in every for node in graph for y in node.outputs):
        return False
    return any(fold_constants(graph) for graph in every)


def fold_constants(graph: ir.Graph) -> bool:
    """Replace nodes of *graph*, not of its subgraphs, by their outputs if these are small and known, in place.

    Return whether there were any.
    """
    folded = False
    for node in list(graph):
        if node.domain or node.op_type == "Constant" or len(node.outputs) != 1 or node.outputs[0].is_graph_output():
            continue
        value = _value(node)
        if value is None or value.size > FOLD_LIMIT:
            continue
        (y,) = node.outputs
        name, y.name = y.name, None
        new = ir.Value(name=name, shape=ir.Shape(value.shape), const_value=ir.Tensor(value, name=name))
        new.type = ir.TensorType(ir.DataType.from_numpy(value.dtype))
        graph.register_initializer(new)
        y.replace_all_uses_with(new)
        graph.remove(node, safe=True)
        folded = True
    return folded


def _value(node: ir.Node) -> np.ndarray | None:
    """Return the output of *node* if it is known before the model runs."""
    if node.op_type in _MEASURES:
        return _whole(_lengths(node))
    function = MORE.get(node.op_type) or FOLDS.get(node.op_type)
    if function is None or not node.inputs:
        return None
    inputs = [None if x is None else _known(x, node) for x in node.inputs]
    pairs = zip(node.inputs, inputs, strict=True)
    if any(x is not None and (array is None or array.size > FOLD_LIMIT) for x, array in pairs):
        return None
    return _whole(computed(node.op_type, function, inputs, _attributes(node)))


def _known(x: ir.Value, user: ir.Node) -> np.ndarray | None:
    """Return the value of *x* if it is known. Gather and Slice may also read a shape of which only a part is known."""
    node = x.producer()
    if node is not None and node.op_type == "Shape" and user.op_type in {"Gather", "Slice"}:
        return _lengths(node)
    return constant(x)


def _whole(array: np.ndarray | None) -> np.ndarray | None:
    if array is None or array.dtype != object:
        return array
    return array.astype(np.int64) if all(isinstance(length, int) for length in array.flat) else None


def _lengths(node: ir.Node) -> np.ndarray | None:
    """Return the output of a Shape or Size as an array of objects; known lengths are ints."""
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    if shape is None:
        return None
    lengths: list[Any] = list(shape)[node.attributes.get_int("start", 0) : node.attributes.get_int("end", None)]
    if node.op_type == "Size":
        lengths = [math.prod(lengths)] if all(isinstance(length, int) for length in lengths) else [None]
    array = np.asarray(lengths, object)
    return array.reshape(()) if node.op_type == "Size" else array


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: attribute.value for name, attribute in node.attributes.items()}


def _slice(
    data: np.ndarray, starts: Any, ends: Any, axes: np.ndarray | None = None, steps: np.ndarray | None = None
) -> np.ndarray:
    where = [slice(None)] * data.ndim
    axes = np.arange(len(starts)) if axes is None else axes
    for axis, begin, end, step in zip(axes, starts, ends, [1] * len(starts) if steps is None else steps, strict=True):
        low = -data.shape[axis] - 1  # ONNX: down to the first element; numpy needs None
        stop = None if step < 0 and end <= low + 1 else int(end)
        where[axis] = slice(int(begin), stop, int(step))
    return data[tuple(where)]


MORE: dict[str, Callable[..., Any]] = {
    "Identity": lambda x: x,
    "Slice": _slice,
    "Transpose": lambda x, perm=None: np.transpose(x, perm),
    "ConstantOfShape": lambda shape, value=None: np.full(
        shape, np.float32(0) if value is None else value.numpy().item(), np.float32 if value is None else None
    ).astype(np.float32 if value is None else value.dtype.numpy()),
}
"""Further operators by which models, but not rules, compute shapes and pads."""
