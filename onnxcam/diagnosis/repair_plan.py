"""What a repair changes in a quantised file, and what it costs: nodes in float and their share of the work."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.rewrite import in_float
from onnxcam.diagnosis.rewrite_units import add_to_bias, requantise
from onnxcam.graph.io import all_tensors
from onnxcam.graph.quantisers import MOVES, Quantiser

__all__ = ["RepairPlan", "float_nodes", "multiplications", "node_key", "surroundings"]

_PASSES = MOVES | {"Clip", "Dropout", "Identity", "Relu", "QuantizeLinear", "DequantizeLinear"}
"""Operators that belong to the node before them: runtimes fuse them, or they move elements."""


@dataclass(frozen=True)
class RepairPlan:
    """Changes of a quantised file.

    Attributes:
        units: New scales and zero points, by tensor.
        shifts: What is added to a quantised bias, by its tensor.
        floats: Tensors that are kept in float.
    """

    units: Mapping[str, Quantiser] = field(default_factory=dict)
    shifts: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    floats: Sequence[str] = ()

    def applied(self, source: ir.Model, mixture: Mixture) -> ir.Model:
        """Return *source*, the file of the *mixture*, with the changes."""
        model = source.clone()
        kept = set(self.floats)
        for one in sorted(self.units.values(), key=lambda one: one.kind == "activation"):
            if one.tensor not in kept:
                requantise(model, one, mixture)
        for tensor, error in self.shifts.items():
            if tensor not in kept:
                add_to_bias(model, tensor, error)
        if self.floats:
            in_float(model, self.floats, mixture)
        return model

    @property
    def key(self) -> Hashable:
        """Return what tells plans apart: units and shifts by identity."""
        shifts = frozenset((tensor, id(shift)) for tensor, shift in self.shifts.items())
        return frozenset(self.units.values()), shifts, frozenset(self.floats)

    def with_units(self, one: Quantiser) -> RepairPlan:
        """Return the plan with other units for one tensor."""
        return replace(self, units={**self.units, one.tensor: one})

    def keeping(self, floats: Sequence[str]) -> RepairPlan:
        """Return the plan with these tensors in float."""
        return replace(self, floats=tuple(floats))


def float_nodes(model: ir.Model, tensors: Sequence[str], mixture: Mixture) -> list[ir.Node]:
    """Return the nodes of the quantised file *model* that compute in float if the *tensors* are kept in float.

    They are the producer and the consumers of an activation, and the nodes that use a weight. Moves and activation
    functions belong to the node before them.
    """
    known = all_tensors(model.graph)
    repeats = [name for name, first in mixture.repeats.items() if first in tensors]
    found = [node for name in (*tensors, *repeats) for node in surroundings(known[name]) if node.op_type not in _PASSES]
    return list(dict.fromkeys(found))


def surroundings(x: ir.Value) -> Iterator[ir.Node]:
    """Yield the nodes around the tensor *x*: its producer and consumers, through all that only passes it on."""
    yield from _before(x)
    yield from _after(x)


def _before(x: ir.Value) -> Iterator[ir.Node]:
    node = x.producer()
    if node is None or node.op_type == "Constant":
        return
    yield node
    if node.op_type in _PASSES - {"DequantizeLinear"}:
        for value in node.inputs if node.op_type == "Concat" else node.inputs[:1]:
            if value is not None:
                yield from _before(value)


def _after(x: ir.Value) -> Iterator[ir.Node]:
    for node in dict.fromkeys(x.consumers()):
        yield node
        if node.op_type in _PASSES and node.op_type != "QuantizeLinear":
            for y in node.outputs:
                yield from _after(y)


def multiplications(real: ir.Model) -> dict[str, int]:
    """Return the number of multiplications of each node of the float network that has many, by `node_key`."""
    return {node_key(node): _multiplications(node) for node in real.graph if _multiplications(node)}


def node_key(node: ir.Node) -> str:
    """Return what names a node: its name, or that of its output."""
    return node.name or node.outputs[0].name or ""


def _multiplications(node: ir.Node) -> int:
    """Return the multiplications of a convolution or matrix product: elements of the output times those of a sum."""
    shapes = [_lengths(value) for value in (*node.inputs[:2], node.outputs[0])]
    if len(shapes) < 3 or any(shape is None for shape in shapes):
        return 0
    x, w, y = (shape or [] for shape in shapes)
    if node.op_type == "Conv":
        return prod(y) * prod(w[1:])
    if node.op_type == "ConvTranspose":
        return prod(x) * prod(w[1:])
    if node.op_type == "Gemm" and len(x) == 2:
        return prod(y) * x[0 if node.attributes.get_int("transA", 0) else 1]
    return prod(y) * x[-1] if node.op_type == "MatMul" and x else 0


def _lengths(value: ir.Value | None) -> list[int] | None:
    """Return the shape of *value*, with 1 for a length that is not known."""
    if value is None or value.shape is None:
        return None
    return [n if isinstance(n, int) else 1 for n in value.shape]
