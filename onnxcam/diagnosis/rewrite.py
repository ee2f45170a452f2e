"""Edit a quantised file: single tensors in float, and other units for single tensors. All else is kept.

Tensors have the names that they have in the mixture of the same file. Every function changes the model that it is
given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.diagnosis.mixture import Mixture
from onnxcam.errors import DiagnosisError
from onnxcam.graph.fold import constant
from onnxcam.graph.io import all_tensors
from onnxcam.graph.quantisers import MOVES, Quantiser

__all__ = ["add_to_bias", "channel_axis", "in_float", "is_joined", "requantise", "rewritable"]

_Array = NDArray[Any]
_INT32 = np.iinfo(np.int32)
_PER_CHANNEL = 13
"""The first opset in which DequantizeLinear has a scale for each channel."""


def rewritable(model: ir.Model, mixture: Mixture, outputs: bool = False) -> list[str]:
    """Return the quantised tensors of *model* that can be kept in float, in the order of the shares.

    The others are tensors of operators that compute with integers and, without *outputs*, outputs of the model in
    integers, which would become floats.
    """
    tensors = all_tensors(model.graph)
    return [one.tensor for one in mixture.quantisers if _is_rewritable(tensors.get(one.tensor), one.kind, outputs)]


def in_float(model: ir.Model, tensors: Collection[str], mixture: Mixture) -> None:
    """Keep the *tensors* of *model* in float: no quantiser of an activation, float weights of the *mixture*.

    The ReLU or ReLU6 that the range of a quantiser replaced is put back.
    """
    known = all_tensors(model.graph)
    repeats = [name for name, first in mixture.repeats.items() if first in tensors]
    for name in (*tensors, *repeats):
        q = _found(known, name)
        if name in mixture.originals:
            for reader in _readers(q):
                _replace(reader, _float_weight(reader, mixture.originals[name]))
        else:
            _remove(q, mixture.rectified.get(name))
    RemoveUnusedNodesPass()(model)


def requantise(model: ir.Model, quantiser: Quantiser, mixture: Mixture) -> None:
    """Give the tensor of *quantiser* in *model* its scale and zero point; weights are quantised again from float.

    The 32-bit bias of a layer has the scale of its input times that of its weights, so it is quantised again too.
    """
    known = all_tensors(model.graph)
    q = _found(known, quantiser.tensor)
    if quantiser.kind == "activation":
        repeats = [name for name, first in mixture.repeats.items() if first == quantiser.tensor]
        nodes = [node for name in (quantiser.tensor, *repeats) for node in _quantiser_nodes(_found(known, name))]
    else:
        nodes = list(_readers(q))
        integers = quantiser.integers(mixture.originals[quantiser.tensor]).astype(quantiser.dtype)
        _set(q, integers)
    for node in nodes:
        _set_units(node, quantiser)
    for layer in dict.fromkeys(layer for node in nodes for layer in node.outputs[0].consumers()):
        _requantise_bias(layer, mixture)


def add_to_bias(model: ir.Model, tensor: str, error: _Array) -> None:
    """Add *error*, one number for each output channel, to the quantised bias *tensor* of a layer of *model*."""
    q = _found(all_tensors(model.graph), tensor)
    for reader in _readers(q):
        scale, integers = constant(reader.inputs[1]), constant(q)
        assert scale is not None
        assert integers is not None
        steps = np.rint(error.reshape(integers.shape) / scale.reshape(-1 if scale.size > 1 else ()))
        _set(q, np.clip(integers + steps, _INT32.min, _INT32.max).astype(integers.dtype))


def channel_axis(model: ir.Model, tensor: str) -> int | None:
    """Return the axis of the output channels of the weights *tensor*; None if its layer or opset allows one scale only.

    A transposed convolution in groups has its output channels on two axes.
    """
    if model.opset_imports.get("", 0) < _PER_CHANNEL:
        return None
    q = _found(all_tensors(model.graph), tensor)
    axes = {_channel_axis(layer, node.outputs[0]) for node in _readers(q) for layer in node.outputs[0].consumers()}
    return axes.pop() if len(axes) == 1 else None


def _channel_axis(layer: ir.Node, w: ir.Value) -> int | None:
    if len(layer.inputs) < 2 or layer.inputs[1] is not w:
        return None
    if layer.op_type == "ConvTranspose":
        return 1 if layer.attributes.get_int("group", 1) == 1 else None
    if layer.op_type == "Gemm":
        return 0 if layer.attributes.get_int("transB", 0) else 1
    q = _dequantiser(w)
    rank = 0 if q is None or q.inputs[0] is None or (held := constant(q.inputs[0])) is None else held.ndim
    return {"Conv": 0, "MatMul": rank - 1 if rank == 2 else None}.get(layer.op_type)


def is_joined(model: ir.Model, tensor: str) -> bool:
    """Return whether an operator joins the integers of *tensor* with those of others, so that all have one scale."""
    return any(len(node.inputs) > 1 for node in _movers(_found(all_tensors(model.graph), tensor), joining=True))


def _is_rewritable(q: ir.Value | None, kind: str, outputs: bool) -> bool:
    if q is None:
        return False
    if kind != "activation":
        return bool(list(_readers(q)))
    moved = [q, *(y for node in _movers(q) for y in node.outputs)]
    made = q.producer()
    free = outputs or not any(x.is_graph_output() for x in moved)
    return free and made is not None and made.op_type == "QuantizeLinear"


def _found(known: dict[str, ir.Value], name: str) -> ir.Value:
    if name not in known:
        raise DiagnosisError(f"the file has no quantised tensor {name!r}; give a file in QDQ form")
    return known[name]


def _readers(q: ir.Value) -> Iterator[ir.Node]:
    """Yield the nodes that dequantise *q* itself."""
    yield from [node for node, place in q.uses() if node.op_type == "DequantizeLinear" and place == 0]


def _movers(q: ir.Value, joining: bool = False) -> list[ir.Node]:
    """Return the nodes that move the integers *q*; *joining*: only those that read others too."""
    found: list[ir.Node] = []
    for node, place in q.uses():
        if node.op_type in MOVES and (place == 0 or node.op_type == "Concat") and node not in found:
            found += [node, *(one for y in node.outputs for one in _movers(y))]
    return [node for node in found if node.op_type == "Concat"] if joining else found


def _quantiser_nodes(q: ir.Value) -> list[ir.Node]:
    """Return the node that quantises an activation and those that dequantise it."""
    made = q.producer()
    assert made is not None
    moved = [q, *(y for node in _movers(q) for y in node.outputs)]
    return [made, *(node for y in moved for node in _readers(y))]


def _remove(q: ir.Value, upper: float | None) -> None:
    """Replace the integers *q* of an activation by its real numbers; *upper* limits them, as a ReLU does."""
    node = q.producer()
    assert node is not None
    assert node.inputs[0] is not None
    x = node.inputs[0] if upper is None else _rectified(node, node.inputs[0], upper)
    _pass_on(q, x)
    if q.is_graph_output():
        name, q.name = q.name, f"{q.name}.integers"
        x = _own(node, x)
        q.replace_all_uses_with(x, replace_graph_outputs=True)
        x.name, x.shape, x.dtype = name, q.shape, ir.DataType.FLOAT


def _pass_on(q: ir.Value, x: ir.Value) -> None:
    """Give the real numbers *x* to all that read the integers *q*."""
    for node in dict.fromkeys(q.consumers()):
        if node.op_type == "DequantizeLinear":
            _replace(node, x)
            continue
        for place, other in enumerate(node.inputs):
            if other is q:
                node.replace_input_with(place, x)
            elif node.op_type == "Concat" and other is not None:
                node.replace_input_with(place, _dequantised(node, other))
        for y in node.outputs:
            y.type = x.type
            _pass_on(y, y)


def _dequantised(node: ir.Node, q: ir.Value) -> ir.Value:
    """Return the real numbers of *q*, another input of *node*, by the units that its result is read with."""
    if not _is_quantised(q):
        return q
    reader = next(one for y in node.outputs for one in _readers_behind(y))
    made = ir.node("DequantizeLinear", [q, *reader.inputs[1:]])
    _graph(node).insert_before(node, made)
    made.outputs[0].dtype = ir.DataType.FLOAT
    return made.outputs[0]


def _is_quantised(x: ir.Value) -> bool:
    """Return whether *x* holds the integers of QuantizeLinear, possibly moved."""
    node = x.producer()
    if node is None or node.inputs[0] is None:
        return False
    return node.op_type == "QuantizeLinear" or (node.op_type in MOVES and _is_quantised(node.inputs[0]))


def _readers_behind(q: ir.Value) -> Iterator[ir.Node]:
    yield from _readers(q)
    for node in _movers(q):
        yield from (one for y in node.outputs for one in _readers(y))


def _rectified(node: ir.Node, x: ir.Value, upper: float) -> ir.Value:
    ends = [_constant(node, np.float32(end), f"{node.outputs[0].name}.{which}") for end, which in _ends(upper)]
    made = ir.node("Clip" if ends else "Relu", [x, *ends])
    _graph(node).insert_before(node, made)
    made.outputs[0].type, made.outputs[0].shape = x.type, x.shape
    return made.outputs[0]


def _ends(upper: float) -> list[tuple[float, str]]:
    return [(0.0, "low"), (upper, "high")] if np.isfinite(upper) else []


def _replace(node: ir.Node, x: ir.Value) -> None:
    """Replace the output of *node* by *x*, which takes over the name of a graph output."""
    y = node.outputs[0]
    name = y.name if y.is_graph_output() else None
    x = x if name is None else _own(node, x)
    y.replace_all_uses_with(x, replace_graph_outputs=True)
    _graph(node).remove(node, safe=True)
    if name is not None:
        x.name, x.shape, x.type = name, y.shape, y.type


def _own(node: ir.Node, x: ir.Value) -> ir.Value:
    """Return *x*, or a copy before *node* if *x* is an input or an output of the model and so has a name to keep."""
    if not x.is_graph_input() and not x.is_graph_output():
        return x
    alias = ir.node("Identity", [x])
    _graph(node).insert_before(node, alias)
    return alias.outputs[0]


def _float_weight(node: ir.Node, array: _Array) -> ir.Value:
    scale = constant(node.inputs[1])
    dtype = np.float32 if scale is None else scale.dtype
    return _constant(node, array.astype(dtype), f"{node.outputs[0].name}.float")


def _set_units(node: ir.Node, quantiser: Quantiser) -> None:
    """Give *node*, which quantises or dequantises, the units of *quantiser* as constants of its own."""
    old = constant(node.inputs[1])
    dtype = np.float32 if old is None else old.dtype
    shape = old.shape if old is not None and old.size == quantiser.scale.size else quantiser.scale.shape
    name = f"{quantiser.tensor}.{{}}"
    scale = _constant(node, quantiser.scale.astype(dtype).reshape(shape), name.format("scale"))
    zero = _constant(node, quantiser.zero.astype(quantiser.dtype).reshape(shape), name.format("zero_point"))
    node.resize_inputs(3)
    node.replace_input_with(1, scale)
    node.replace_input_with(2, zero)
    if quantiser.scale.size > 1:
        node.attributes["axis"] = ir.AttrInt64("axis", quantiser.axis)


def _requantise_bias(layer: ir.Node, mixture: Mixture) -> None:
    """Give the 32-bit bias of *layer* the scale of its input times that of its weights."""
    x, w, b = (_dequantiser(value) for value in (*layer.inputs, None, None)[:3])
    if x is None or w is None or b is None or b.inputs[0] is None:
        return
    integers, old, zero = constant(b.inputs[0]), constant(b.inputs[1]), constant((*b.inputs, None)[2])
    sx, sw = constant(x.inputs[1]), constant(w.inputs[1])
    if integers is None or integers.dtype != np.int32 or old is None or sx is None or sw is None:
        return
    scale = (sx.astype(np.float64) * sw.astype(np.float64)).reshape(-1)
    known = mixture.originals.get(b.inputs[0].name or "")
    real = integers * old.astype(np.float64) if known is None else known.astype(np.float64)
    zeros = np.zeros(scale.shape, np.int64)
    one = scale.size == 1
    units = Quantiser(
        b.inputs[0].name or "",
        b.outputs[0].name or "",
        "bias",
        scale.reshape(()) if one else scale,
        zeros.reshape(()) if one else zeros,
        np.dtype(np.int32),
        0,
    )
    assert zero is None or not zero.any()
    _set(b.inputs[0], units.integers(real).astype(np.int32))
    _set_units(b, units)


def _dequantiser(x: ir.Value | None) -> ir.Node | None:
    node = None if x is None else x.producer()
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _set(q: ir.Value, integers: _Array) -> None:
    """Change the constant *q*."""
    node = q.producer()
    tensor = ir.tensor(integers, name=q.name)
    if node is None:
        q.const_value = tensor
    else:
        node.attributes["value"] = ir.AttrTensor("value", tensor)


def _constant(node: ir.Node, array: _Array | np.floating[Any], name: str) -> ir.Value:
    """Add a constant to the graph of *node*, under a name that is free, or return the equal one of this name."""
    graph = _graph(node)
    array = np.asarray(array)
    wish, count = name, 1
    while name in graph.initializers:
        held = graph.initializers[name].const_value
        if held is not None and held.numpy().dtype == array.dtype and np.array_equal(held.numpy(), array):
            return graph.initializers[name]
        count += 1
        name = f"{wish}.{count}"
    made = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(made)
    return made


def _graph(node: ir.Node) -> ir.Graph:
    assert isinstance(node.graph, ir.Graph)
    return node.graph
