"""The quantisers of a model: its QuantizeLinear and DequantizeLinear nodes, and the model in real numbers without them.

A quantiser rounds a tensor x to (q − zero) · scale, where q is an integer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.errors import ModelError
from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators

__all__ = ["MOVES", "Quantiser", "Real", "add_constant", "remove_quantisers"]

_T = TypeVar("_T", bound=np.generic)
Kind: TypeAlias = Literal["activation", "weight", "bias"]

MOVES = operators(Trait.KEEPS_UNITS | Trait.INTERLEAVES) | {"Concat", "Expand", "Split", "Tile"}
"""Operators allowed between QuantizeLinear and DequantizeLinear: they act alike on integers and floats."""
_CURE = "give a model in QDQ form (quant_format=QuantFormat.QDQ in onnxruntime.quantization)"


@dataclass(frozen=True, eq=False)
class Quantiser:
    """The quantisation of one tensor.

    Attributes:
        tensor: Name of the integers, in the file: the output of QuantizeLinear, or the constant of a weight.
        real: Name of the real tensor: the input of QuantizeLinear, or the output of a weight's DequantizeLinear.
        kind: What is quantised; a bias is a weight with 32-bit integers.
        scale: Size of one step, float64: one number, or one for each index of *axis*.
        zero: Integer that stands for 0, int64, likewise.
        dtype: Data type of the integers.
        axis: Axis of the channels, where scale and zero point have several numbers.
    """

    tensor: str
    real: str
    kind: Kind
    scale: NDArray[np.float64]
    zero: NDArray[np.int64]
    dtype: np.dtype[np.integer]
    axis: int

    @classmethod
    def of(cls, node: ir.Node, kind: Kind, integers: ir.Value, real: ir.Value, dtype: np.dtype) -> Quantiser:
        """Return the quantiser of a QuantizeLinear or DequantizeLinear *node*.

        Raises:
            ModelError: its scale or zero point is computed at run time, or it quantises to blocks or to floats.
        """
        scale, zero = (constant(each) for each in (node.inputs[1], (*node.inputs, None)[2]))
        name = f"the {kind} of node '{node.name}'"
        if scale is None or (zero is None and len(node.inputs) > 2 and node.inputs[2] is not None):
            raise ModelError(f"{name} has a scale computed at run time; {_CURE}")
        if node.attributes.get_int("block_size", 0):
            raise ModelError(f"{name} is quantised in blocks; {_CURE}")
        if dtype.kind not in "iu":
            raise ModelError(f"{name} is quantised to {dtype}, no integers; {_CURE}")
        zero = np.zeros(scale.shape, np.int64) if zero is None else zero
        one = scale.size == 1
        return cls(
            integers.name or "",
            real.name or "",
            kind,
            scale.astype(np.float64).reshape([] if one else -1),
            zero.astype(np.int64).reshape([] if one else -1),
            dtype,
            node.attributes.get_int("axis", 1),
        )

    @property
    def range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the smallest and the largest real number that the integers stand for."""
        limits = np.iinfo(self.dtype)
        return (limits.min - self.zero) * self.scale, (limits.max - self.zero) * self.scale

    def equals(self, other: Quantiser) -> bool:
        """Return whether *other* rounds in the same way."""
        same = np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)
        return same and self.dtype == other.dtype

    def integers(self, x: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the integers of *x*."""
        limits = np.iinfo(self.dtype)
        scale, zero = self.along(self.scale, x.ndim), self.along(self.zero, x.ndim)
        return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(np.int64)

    def dequantised(self, q: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the real numbers of the integers *q*."""
        real: NDArray[np.float64] = (q - self.along(self.zero, q.ndim)) * self.along(self.scale, q.ndim)
        return real

    def rounded(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return *x* as the quantised model holds it."""
        return self.dequantised(self.integers(x))

    def along(self, of: NDArray[_T], rank: int) -> NDArray[_T]:
        """Return *of*, one number or one for each index of the axis, so that it broadcasts to a tensor of *rank*."""
        if of.size == 1:
            return of.reshape(())
        shape = [1] * rank
        shape[self.axis] = -1
        return of.reshape(shape)


Real: TypeAlias = Callable[[ir.Node, ir.Value | None, Quantiser], ir.Value]
"""From a node that quantises, its real input (None for a constant) and its quantiser to the value in its place."""


def remove_quantisers(model: ir.Model, activation: Real, weight: Real) -> list[Quantiser]:
    """Replace every quantised tensor of *model* by a real one, in place; return the quantisers in order of the nodes.

    *activation* gives the value in place of what QuantizeLinear writes, *weight* that in place of a DequantizeLinear of
    constants.

    Raises:
        ModelError: no activation is quantised by QuantizeLinear; an integer operator such as QLinearConv reads one; or
            a quantiser has no constant scale.
    """
    found: list[Quantiser] = []
    real: dict[ir.Value, Quantiser | None] = {}  # None: of several quantisers
    for node in list(model.graph):
        x = node.inputs[0] if node.inputs else None
        if x is None:
            continue
        if node.op_type == "QuantizeLinear" and constant(x) is None:
            _check(node)
            quantiser = Quantiser.of(node, "activation", node.outputs[0], x, _integers(node))
            found.append(quantiser)
            value = activation(node, x, quantiser)
            _replace(node, value)
            real[value] = quantiser
        elif node.op_type == "DequantizeLinear" and x in real:
            _check_units(node, x, real[x])
            _replace(node, x)
        elif node.op_type == "DequantizeLinear" and (q := constant(x)) is not None:
            kind: Kind = "bias" if q.dtype.itemsize == 4 else "weight"
            quantiser = Quantiser.of(node, kind, x, node.outputs[0], q.dtype)
            found.append(quantiser)
            _replace(node, weight(node, None, quantiser))
        elif x in real and node.op_type in MOVES:
            for y in node.outputs:
                y.dtype = ir.DataType.FLOAT
            sources = {real.get(each) for each in node.inputs if each in real}
            real.update(dict.fromkeys(node.outputs, sources.pop() if len(sources) == 1 else None))
    if not real:
        raise ModelError(
            f"no activation of the model is quantised by QuantizeLinear, so there is no rounding to undo; {_CURE}"
        )
    RemoveUnusedNodesPass()(model)
    return found


def add_constant(node: ir.Node, array: NDArray[np.floating] | np.floating, name: str) -> ir.Value:
    """Add a float32 constant to the graph of *node* and return it."""
    made = ir.val(name, const_value=ir.tensor(np.asarray(array, np.float32), name=name))
    _graph(node).register_initializer(made)
    return made


def _integers(node: ir.Node) -> np.dtype:
    zero = constant((*node.inputs, None)[2])
    if zero is not None:
        return zero.dtype
    kind = node.attributes.get_int("output_dtype", 0) or int(ir.DataType.UINT8)
    return np.dtype(ir.DataType(kind).numpy())


def _check(node: ir.Node) -> None:
    """Raise ModelError if an operator computes with the integers that *node* writes."""
    for reader in node.outputs[0].consumers():
        if reader.op_type not in MOVES | {"DequantizeLinear"}:
            raise ModelError(
                f"operator {reader.op_type} (node '{reader.name}') computes with integers, whose rounding is part of "
                f"it; {_CURE}"
            )


def _check_units(node: ir.Node, x: ir.Value, writer: Quantiser | None) -> None:
    """Raise ModelError if DequantizeLinear *node* reads the integers *x* with other units than *writer* gave them."""
    reader = Quantiser.of(
        node, "activation", x, node.outputs[0], np.dtype(np.uint8) if writer is None else writer.dtype
    )
    if reader.scale.size != 1:
        raise ModelError(f"the activation of node '{node.name}' has a scale for each channel; {_CURE}")
    if writer is not None and (reader.scale != writer.scale or reader.zero != writer.zero):
        raise ModelError(
            f"node '{node.name}' reads {writer.tensor!r} with scale {reader.scale:.4g} and zero point {reader.zero}, "
            f"but the tensor was written with {writer.scale:.4g} and {writer.zero}; correct the file"
        )


def _replace(node: ir.Node, x: ir.Value) -> None:
    """Replace the output of *node* by *x*; *x* takes over the name of a graph output."""
    y = node.outputs[0]
    name = y.name if y.is_graph_output() else None
    y.replace_all_uses_with(x, replace_graph_outputs=True)
    _graph(node).remove(node, safe=True)
    if name is not None and not x.is_graph_input():
        x.name, x.shape, x.dtype = name, x.shape or y.shape, ir.DataType.FLOAT


def _graph(node: ir.Node) -> ir.Graph:
    assert isinstance(node.graph, ir.Graph)
    return node.graph
