"""Edit a quantised file: single tensors in float. All else is kept.

Tensors have the names that they have in the mixture of the same file. Every function changes the model that it is
given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.quantised_file import (
    graph_of,
    maker,
    movers,
    new_constant,
    quantised_from,
    readers,
    tensor_of,
)
from onnxcam.graph.fold import constant
from onnxcam.graph.io import all_tensors
from onnxcam.graph.quantisers import MOVES

__all__ = ["in_float", "is_joined", "rewritable"]

_Array = NDArray[Any]


def rewritable(model: ir.Model, mixture: Mixture, outputs: bool = False) -> list[str]:
    """Return the quantised tensors of *model* that can be kept in float, in the order of the shares.

    The others are tensors of operators that compute with integers and, without *outputs*, outputs of the model in
    integers, which would become floats.
    """
    tensors = all_tensors(model.graph)
    return [one.tensor for one in mixture.quantisers if _is_rewritable(tensors.get(one.tensor), one.kind, outputs)]


def in_float(model: ir.Model, tensors: Collection[str], mixture: Mixture) -> None:
    """Keep the *tensors* of *model* in float: no quantiser of an activation, float weights of the *mixture*.

    A bias that the quantiser moved is that of the float model if the weight of its layer is in float.

    The ReLU or ReLU6 that the range of a quantiser replaced is put back.
    """
    known = all_tensors(model.graph)
    for name in tensors:
        if name in mixture.originals:
            for reader in readers(tensor_of(known, name)):
                _replace(reader, _float_weight(reader, mixture.originals[name]))
            for bias, array in mixture.biases.get(name, {}).items():
                _put_back(known.get(bias), array)
        else:
            repeats = [tensor_of(known, repeat) for repeat, first in mixture.repeats.items() if first == name]
            _remove(tensor_of(known, name), repeats, mixture.rectified.get(name))
    RemoveUnusedNodesPass()(model)


def _put_back(bias: ir.Value | None, array: _Array) -> None:
    """Replace a *bias* that the quantiser moved by *array*, that of the float model."""
    users = () if bias is None else bias.consumers()
    if bias is not None and users and bias.dtype is not None:
        bias.replace_all_uses_with(new_constant(users[0], array.astype(bias.dtype.numpy()), f"{bias.name}.float"))


def is_joined(model: ir.Model, tensor: str) -> bool:
    """Return whether an operator joins the integers of *tensor* with those of others, so that all have one scale."""
    return any(len(node.inputs) > 1 for node in movers(tensor_of(all_tensors(model.graph), tensor), joining=True))


def _is_rewritable(q: ir.Value | None, kind: str, outputs: bool) -> bool:
    if q is None:
        return False
    if kind != "activation":
        return bool(list(readers(q)))
    moved = [q, *(y for node in movers(q) for y in node.outputs)]
    made = q.producer()
    if any(node.op_type not in MOVES | {"DequantizeLinear"} for y in moved for node in y.consumers()):
        return False
    free = outputs or not any(x.is_graph_output() for x in moved)
    return free and made is not None and made.op_type == "QuantizeLinear"


def _remove(q: ir.Value, repeats: Sequence[ir.Value], upper: float | None) -> None:
    """Replace the integers *q* of an activation, and their *repeats*, by real numbers; *upper* limits them as a ReLU.

    A repeat reads the same tensor as the quantiser of *q*, or what it wrote.
    """
    raw = quantised_from(q)
    x = raw if upper is None else _rectified(maker(q), raw, upper)
    for each in (q, *repeats):
        real = x if quantised_from(each) is raw else quantised_from(each)
        _pass_on(each, real)
        if each.is_graph_output():
            _become_output(each, real)


def _become_output(q: ir.Value, x: ir.Value) -> None:
    """Make *x* the output of the model in place of the integers *q*."""
    name, q.name = q.name, f"{q.name}.integers"
    x = _own(maker(q), x)
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
    graph_of(node).insert_before(node, made)
    made.outputs[0].dtype = ir.DataType.FLOAT
    return made.outputs[0]


def _is_quantised(x: ir.Value) -> bool:
    """Return whether *x* holds the integers of QuantizeLinear, possibly moved."""
    node = x.producer()
    if node is None or node.inputs[0] is None:
        return False
    return node.op_type == "QuantizeLinear" or (node.op_type in MOVES and _is_quantised(node.inputs[0]))


def _readers_behind(q: ir.Value) -> Iterator[ir.Node]:
    yield from readers(q)
    for node in movers(q):
        yield from (one for y in node.outputs for one in readers(y))


def _rectified(node: ir.Node, x: ir.Value, upper: float) -> ir.Value:
    ends = [new_constant(node, np.float32(end), f"{node.outputs[0].name}.{which}") for end, which in _ends(upper)]
    made = ir.node("Clip" if ends else "Relu", [x, *ends])
    graph_of(node).insert_before(node, made)
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
    graph_of(node).remove(node, safe=True)
    if name is not None:
        x.name, x.shape, x.type = name, y.shape, y.type


def _own(node: ir.Node, x: ir.Value) -> ir.Value:
    """Return *x*, or a copy before *node* if *x* is an input or an output of the model and so has a name to keep."""
    if not x.is_graph_input() and not x.is_graph_output():
        return x
    alias = ir.node("Identity", [x])
    graph_of(node).insert_before(node, alias)
    return alias.outputs[0]


def _float_weight(node: ir.Node, array: _Array) -> ir.Value:
    scale = constant(node.inputs[1])
    dtype = np.float32 if scale is None else scale.dtype
    return new_constant(node, array.astype(dtype), f"{node.outputs[0].name}.float")
