"""The quantised tensors of a file: what writes, moves and reads their integers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import DiagnosisError
from onnxcam.graph.quantisers import MOVES

__all__ = ["dequantiser", "graph_of", "maker", "movers", "new_constant", "quantised_from", "readers", "tensor_of"]

_Array = NDArray[Any]


def tensor_of(known: dict[str, ir.Value], name: str) -> ir.Value:
    """Return the tensor *name* of those *known*; DiagnosisError if the file lacks it."""
    if name not in known:
        raise DiagnosisError(f"the file has no quantised tensor {name!r}; give a file in QDQ form")
    return known[name]


def readers(q: ir.Value) -> Iterator[ir.Node]:
    """Yield the nodes that dequantise *q* itself."""
    yield from [node for node, place in q.uses() if node.op_type == "DequantizeLinear" and place == 0]


def movers(q: ir.Value, joining: bool = False) -> list[ir.Node]:
    """Return the nodes that move the integers *q*; *joining*: only those that read others too."""
    found: list[ir.Node] = []
    for node, place in q.uses():
        if node.op_type in MOVES and (place == 0 or node.op_type == "Concat") and node not in found:
            found += [node, *(one for y in node.outputs for one in movers(y))]
    return [node for node in found if node.op_type == "Concat"] if joining else found


def maker(q: ir.Value) -> ir.Node:
    """Return the node that writes *q*."""
    node = q.producer()
    assert node is not None
    return node


def quantised_from(q: ir.Value) -> ir.Value:
    """Return the real tensor that QuantizeLinear turns into the integers *q*."""
    x = maker(q).inputs[0]
    assert x is not None
    return x


def dequantiser(x: ir.Value | None) -> ir.Node | None:
    """Return the node that dequantises into *x*, if one does."""
    node = None if x is None else x.producer()
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def new_constant(node: ir.Node, array: _Array | np.floating[Any], name: str) -> ir.Value:
    """Add a constant to the graph of *node*, under a name that is free, or return the equal one of this name."""
    graph = graph_of(node)
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


def graph_of(node: ir.Node) -> ir.Graph:
    """Return the graph that holds *node*."""
    assert isinstance(node.graph, ir.Graph)
    return node.graph
