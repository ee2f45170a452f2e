"""A quantised model → the same network in float: where the two differ, it is by the bits of activations."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.autodiff.fold import constant
from onnxcam.errors import ModelError
from onnxcam.graph import ModelLike, load

_MOVES = frozenset("Identity Reshape Flatten Squeeze Unsqueeze Transpose Slice Gather MaxPool Concat".split())
"""What stands between a QuantizeLinear and its DequantizeLinear, and does to numbers what it does to integers."""
_CURE = "give a model in QDQ form (quant_format=QuantFormat.QDQ in onnxruntime.quantization)"


def dequantise(model: ModelLike) -> ir.Model:
    """Return *model* with activations as they are: x for each DequantizeLinear(QuantizeLinear(x)): not rounded or cut.

    Weights become the real numbers that their integers stand for, inputs stay as they are, and an output that was
    quantised is float32, in real units. A quantised model held against its twin shows what its activations cost, the
    twin held against a float original what its weights do.

    Raises:
        ModelError: no activation is quantised by QuantizeLinear, or integer operators, such as QLinearConv, read it.

    Example:
        >>> onnxcam.graph.save(dequantise("int8.onnx"), "twin.onnx")
    """
    model = load(model)
    real: set[ir.Value] = set()
    for node in list(model.graph):
        x = node.inputs[0] if node.inputs else None
        if x is None:
            continue
        if node.op_type == "QuantizeLinear" and constant(x) is None:
            _check(node)
            _replace(node, x)
            real.add(x)
        elif node.op_type == "DequantizeLinear" and (x in real or constant(x) is not None):
            _replace(node, x if x in real else _weight(node))
        elif x in real and node.op_type in _MOVES:
            for y in node.outputs:
                y.dtype = ir.DataType.FLOAT
            real.update(node.outputs)
    if not real:
        raise ModelError(
            f"no activation of the model is quantised by QuantizeLinear, so there is no rounding to undo; {_CURE}"
        )
    RemoveUnusedNodesPass()(model)
    return model


def _check(node: ir.Node) -> None:
    """Raise ModelError where an operator computes with the integers that *node* writes."""
    for reader in node.outputs[0].consumers():
        if reader.op_type not in _MOVES | {"DequantizeLinear"}:
            raise ModelError(
                f"operator {reader.op_type} (node '{reader.name}') computes with integers, whose rounding is part of "
                f"it; {_CURE}"
            )


def _replace(node: ir.Node, x: ir.Value) -> None:
    """Let *x* stand for what *node* makes of it, and take the name of a graph's output."""
    y, graph = node.outputs[0], node.graph
    assert isinstance(graph, ir.Graph)
    name = y.name if y.is_graph_output() else None
    y.replace_all_uses_with(x, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if name is not None and not x.is_graph_input():
        x.name, x.shape, x.dtype = name, x.shape or y.shape, ir.DataType.FLOAT


def _weight(node: ir.Node) -> ir.Value:
    """Return what a DequantizeLinear makes of a constant: (q − zero) · scale, along its axis where it has one."""
    arrays = [None if x is None else constant(x) for x in node.inputs]
    q, scale = arrays[0], arrays[1]
    if q is None or scale is None or "block_size" in node.attributes:
        raise ModelError(f"the weight of node '{node.name}' is quantised in blocks or by the run; {_CURE}")
    zero = arrays[2] if len(arrays) > 2 and arrays[2] is not None else np.zeros((), q.dtype)
    values = (q.astype(np.float64) - _along(node, zero, q.ndim)) * _along(node, scale, q.ndim)
    weight = ir.val(f"{node.outputs[0].name}.real", const_value=ir.tensor(values.astype(np.float32)))
    assert isinstance(node.graph, ir.Graph)
    node.graph.register_initializer(weight)
    return weight


def _along(node: ir.Node, of: NDArray[np.generic], rank: int) -> NDArray[np.float64]:
    """Return one number, or one for each place along the node's axis, so that it meets a tensor of *rank*."""
    if of.size == 1:
        return of.astype(np.float64).reshape(())
    shape = [1] * rank
    shape[node.attributes.get_int("axis", 1)] = -1
    return of.astype(np.float64).reshape(shape)
