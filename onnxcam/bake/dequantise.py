"""Quantised model → the same model in float, which differs only by the rounding of activations."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.errors import ModelError
from onnxcam.graph.fold import constant
from onnxcam.graph.io import ModelLike, load
from onnxcam.graph.operators import Trait, operators

__all__ = ["dequantise"]

_MOVES = operators(Trait.KEEPS_UNITS | Trait.INTERLEAVES) | {"Concat", "Expand", "Split", "Tile"}
"""Operators allowed between QuantizeLinear and DequantizeLinear: they act alike on integers and floats."""
_BOUNDED = operators(Trait.NONNEGATIVE) | {"Clip"}
"""Operators that already limit their output, so that no Clip is needed."""
_CURE = "give a model in QDQ form (quant_format=QuantFormat.QDQ in onnxruntime.quantization)"


def dequantise(model: ModelLike) -> ir.Model:
    """Return *model* in float: x for each DequantizeLinear(QuantizeLinear(x)).

    Quantisers drop a ReLU or ReLU6 if the range of the integers starts at zero, which clips the same way. In that case
    x is clipped to this range. Weights are dequantised, inputs are kept, and a quantised output becomes float32.
    Compare the quantised model with the result to see the effect of activation rounding, and the result with the float
    original to see the effect of everything else.

    Raises:
        ModelError: no activation is quantised by QuantizeLinear; an integer operator such as QLinearConv reads one; or
            an activation has a scale per channel or a scale computed at run time.

    Example:
        >>> onnxcam.graph.io.save(dequantise("int8.onnx"), "twin.onnx")
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
        elif node.op_type == "DequantizeLinear" and x in real:
            _replace(node, _cut(node, x))
        elif node.op_type == "DequantizeLinear" and constant(x) is not None:
            _replace(node, _weight(node))
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
    """Raise ModelError if an operator computes with the integers that *node* writes."""
    for reader in node.outputs[0].consumers():
        if reader.op_type not in _MOVES | {"DequantizeLinear"}:
            raise ModelError(
                f"operator {reader.op_type} (node '{reader.name}') computes with integers, whose rounding is part of "
                f"it; {_CURE}"
            )


def _cut(node: ir.Node, x: ir.Value) -> ir.Value:
    """Return *x*, clipped if the integers of *node* start at zero and no operator before it limits the range."""
    low, high = _range(node)
    maker = x.producer()
    if low != 0 or (maker is not None and maker.op_type in _BOUNDED):
        return x
    name = node.outputs[0].name
    bounds = [_add_constant(node, np.float32(end), f"{name}.{which}") for end, which in ((low, "low"), (high, "high"))]
    clip = ir.node("Clip", [x, *bounds])
    _graph(node).insert_before(node, clip)
    clip.outputs[0].shape, clip.outputs[0].dtype = x.shape, ir.DataType.FLOAT
    return clip.outputs[0]


def _range(node: ir.Node) -> tuple[float, float]:
    """Return the smallest and largest float that the integers of *node* represent."""
    scale, zero = (constant(each) for each in (node.inputs[1], (*node.inputs, None)[2]))
    if scale is None or scale.size != 1 or (zero is None and len(node.inputs) > 2):
        raise ModelError(
            f"the activation of node '{node.name}' has a scale for each channel, or one computed at run time; {_CURE}"
        )
    zero = np.zeros((), np.uint8) if zero is None else zero
    if zero.dtype.kind not in "iu":
        raise ModelError(f"the activation of node '{node.name}' is quantised to {zero.dtype}, no integers; {_CURE}")
    limits, (step, at) = np.iinfo(zero.dtype), (float(scale.item()), float(zero.item()))
    return (limits.min - at) * step, (limits.max - at) * step


def _replace(node: ir.Node, x: ir.Value) -> None:
    """Replace the output of *node* by *x*; *x* takes over the name of a graph output."""
    y = node.outputs[0]
    name = y.name if y.is_graph_output() else None
    y.replace_all_uses_with(x, replace_graph_outputs=True)
    _graph(node).remove(node, safe=True)
    if name is not None and not x.is_graph_input():
        x.name, x.shape, x.dtype = name, x.shape or y.shape, ir.DataType.FLOAT


def _weight(node: ir.Node) -> ir.Value:
    """Return the dequantised constant of a DequantizeLinear: (q − zero) · scale, along its axis if it has one."""
    arrays = [constant(x) for x in node.inputs]
    q, scale = arrays[0], arrays[1]
    if q is None or scale is None or "block_size" in node.attributes:
        raise ModelError(f"the weight of node '{node.name}' is quantised in blocks or at run time; {_CURE}")
    zero = arrays[2] if len(arrays) > 2 and arrays[2] is not None else np.zeros((), q.dtype)
    values = (q.astype(np.float64) - _along(node, zero, q.ndim)) * _along(node, scale, q.ndim)
    return _add_constant(node, values.astype(np.float32), f"{node.outputs[0].name}.real")


def _add_constant(node: ir.Node, array: NDArray[np.float32] | np.float32, name: str) -> ir.Value:
    """Add a constant to the graph of *node* and return it."""
    made = ir.val(name, const_value=ir.tensor(np.asarray(array), name=name))
    _graph(node).register_initializer(made)
    return made


def _along(node: ir.Node, of: NDArray[np.generic], rank: int) -> NDArray[np.float64]:
    """Reshape a scalar, or one number per index of the node's axis, to broadcast to a tensor of *rank*."""
    if of.size == 1:
        return of.astype(np.float64).reshape(())
    shape = [1] * rank
    shape[node.attributes.get_int("axis", 1)] = -1
    return of.astype(np.float64).reshape(shape)


def _graph(node: ir.Node) -> ir.Graph:
    assert isinstance(node.graph, ir.Graph)
    return node.graph
