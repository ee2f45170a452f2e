"""The quantisers of a model: its QuantizeLinear and DequantizeLinear nodes, and the model in real numbers without them.

A quantiser rounds a tensor x to (q − zero) · scale, where q is an integer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.errors import ModelError
from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators

__all__ = ["MOVES", "Quantiser", "Real", "add_constant", "integer_type", "remove_quantisers"]

_T = TypeVar("_T", bound=np.generic)
_TensorKind: TypeAlias = Literal["activation", "weight", "bias"]

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
        block: Number of neighbours along *axis* that share a scale; scale and zero point then have the rank of the
            tensor. 0: no blocks.
        narrow: The smallest and the largest integer, where a Clip behind QuantizeLinear limits them further.
    """

    tensor: str
    real: str
    kind: _TensorKind
    scale: NDArray[np.float64]
    zero: NDArray[np.int64]
    dtype: np.dtype[np.integer]
    axis: int
    block: int = 0
    narrow: tuple[int, int] | None = None

    @classmethod
    def of(cls, node: ir.Node, kind: _TensorKind, integers: ir.Value, real: ir.Value, dtype: np.dtype) -> Quantiser:
        """Return the quantiser of a QuantizeLinear or DequantizeLinear *node*.

        Raises:
            ModelError: its scale or zero point is computed at run time, or it quantises to floats.
        """
        scale, zero = (constant(each) for each in (node.inputs[1], (*node.inputs, None)[2]))
        name = f"the {kind} of node '{node.name}'"
        if scale is None or (zero is None and len(node.inputs) > 2 and node.inputs[2] is not None):
            raise ModelError(f"{name} has a scale computed at run time; {_CURE}")
        if not _is_integer(dtype):
            raise ModelError(f"{name} is quantised to {dtype}, no integers; {_CURE}")
        zero = np.zeros(scale.shape, np.int64) if zero is None else zero
        block = node.attributes.get_int("block_size", 0) if scale.ndim > 1 else 0
        shape: Sequence[int] = scale.shape if block else [] if scale.size == 1 else [-1]
        return cls(
            integers.name or "",
            real.name or "",
            kind,
            scale.astype(np.float64).reshape(shape),
            zero.astype(np.int64).reshape(shape),
            dtype,
            node.attributes.get_int("axis", 1),
            block,
            _clipped(integers, dtype) if node.op_type == "QuantizeLinear" else None,
        )

    @property
    def limits(self) -> tuple[int, int]:
        """Return the smallest and the largest integer."""
        return self.narrow or _ends(self.dtype)

    @property
    def range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the smallest and the largest real number that the integers stand for."""
        low, high = self.limits
        return (low - self.zero) * self.scale, (high - self.zero) * self.scale

    def equals(self, other: Quantiser) -> bool:
        """Return whether *other* rounds in the same way."""
        same = np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)
        return same and self.dtype == other.dtype and self.limits == other.limits

    def integers(self, x: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the integers of *x*, rounded in its precision."""
        scale, zero = self.along(self.scale, x.shape).astype(x.dtype), self.along(self.zero, x.shape)
        return np.clip(np.rint(x / scale).astype(np.float64) + zero, *self.limits).astype(np.int64)

    def dequantised(self, q: NDArray[Any]) -> NDArray[np.float64]:
        """Return the real numbers of the integers *q*."""
        steps = q.astype(np.int64) - self.along(self.zero, q.shape)
        real: NDArray[np.float64] = steps * self.along(self.scale, q.shape)
        return real

    def rounded(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return *x* as the quantised model holds it."""
        return self.dequantised(self.integers(x))

    def along(self, of: NDArray[_T], shape: Sequence[int]) -> NDArray[_T]:
        """Return *of*, one number or one for each index or block of the axis, so that it broadcasts to *shape*."""
        if of.size == 1:
            return of.reshape(())
        if self.block:
            return np.repeat(of, self.block, self.axis).take(range(shape[self.axis]), self.axis)
        return of.reshape([-1 if axis == self.axis % len(shape) else 1 for axis in range(len(shape))])


Real: TypeAlias = Callable[[ir.Node, ir.Value | None, Quantiser], ir.Value]
"""From a node that quantises, its real input (None for a constant) and its quantiser to the value in its place."""


def remove_quantisers(model: ir.Model, activation: Real, weight: Real) -> list[Quantiser]:
    """Replace every quantised tensor of *model* by a real one, in place; return the quantisers in order of the nodes.

    *activation* gives the value in place of what QuantizeLinear writes, *weight* that in place of a DequantizeLinear of
    constants.

    Raises:
        ModelError: no tensor is quantised; an operator without a float form reads integers; or a quantiser has no
            constant scale.
    """
    found: list[Quantiser] = []
    real: dict[ir.Value, Quantiser | None] = {}  # None: of several quantisers
    inner: set[ir.Node] = set()  # operators on integers
    fixed: dict[ir.Value, list[tuple[Quantiser, ir.Value]]] = {}
    for node in list(model.graph):
        x = node.inputs[0] if node.inputs else None
        if x is None:
            continue
        if node.op_type == "QuantizeLinear" and constant(x) is None:
            inner.update(_on_integers(node))
            one = Quantiser.of(node, "activation", node.outputs[0], x, integer_type(node))
            found.append(one)
            value = activation(node, x, one)
            _replace(node, value)
            real[value] = one
        elif node.op_type == "DequantizeLinear" and x in real:
            _check_units(node, x, real[x])
            _replace(node, x)
        elif node.op_type == "DequantizeLinear" and (q := constant(x)) is not None:
            one = Quantiser.of(node, "bias" if q.dtype.itemsize == 4 else "weight", x, node.outputs[0], q.dtype)
            tied = next((value for other, value in fixed.get(x, ()) if other.equals(one)), None)
            value = weight(node, None, one) if tied is None else tied
            if tied is None:
                found.append(one)
                fixed.setdefault(x, []).append((one, value))
            _replace(node, value)
        elif node in inner and node.op_type in ("Cast", "Clip"):
            _replace(node, x)
        elif node in inner:
            for y in node.outputs:
                y.dtype = _real_dtype(x)
            sources = {real.get(each) for each in node.inputs if each in real}
            real.update(dict.fromkeys(node.outputs, sources.pop() if len(sources) == 1 else None))
    if not found:
        raise ModelError(
            f"no activation of the model is quantised, nor a weight, so there is no rounding to undo; {_CURE}"
        )
    RemoveUnusedNodesPass()(model)
    return found


def add_constant(node: ir.Node, array: NDArray[np.floating] | np.floating, name: str) -> ir.Value:
    """Add a float32 constant to the graph of *node* and return it."""
    made = ir.val(name, const_value=ir.tensor(np.asarray(array, np.float32), name=name))
    _graph(node).register_initializer(made)
    return made


def _is_integer(dtype: np.dtype) -> bool:
    """Return whether *dtype* is one of integers, also of 4 and 2 bits."""
    try:
        _ends(dtype)
    except ValueError:
        return False
    return True


def _ends(dtype: np.dtype) -> tuple[int, int]:
    info: Any = ml_dtypes.iinfo
    return int(info(dtype).min), int(info(dtype).max)


def _clipped(integers: ir.Value, dtype: np.dtype) -> tuple[int, int] | None:
    """Return the limits of the Clip that reads *integers*, which exporters of PyTorch write for 7 bits."""
    readers = integers.consumers()
    if len(readers) != 1 or readers[0].op_type != "Clip":
        return None
    low, high = (*readers[0].inputs, None, None)[1:3]
    least, most = (None if x is None else constant(x) for x in (low, high))
    if (low is None) != (least is None) or (high is None) != (most is None):
        return None
    first, last = _ends(dtype)
    return first if least is None else int(least.item()), last if most is None else int(most.item())


def integer_type(node: ir.Node) -> np.dtype:
    """Return the data type of the integers that a QuantizeLinear *node* writes."""
    zero = constant((*node.inputs, None)[2])
    if zero is not None:
        return zero.dtype
    kind = node.attributes.get_int("output_dtype", 0) or int(ir.DataType.UINT8)
    return np.dtype(ir.DataType(kind).numpy())


def _on_integers(node: ir.Node) -> Iterator[ir.Node]:
    """Yield the operators between *node*, which writes integers, and DequantizeLinear.

    Raises:
        ModelError: one of them computes with the integers.
    """
    for y in node.outputs:
        for reader in y.consumers():
            if reader.op_type in MOVES or _recasts(reader) or _clipped(y, np.dtype(np.int32)) is not None:
                yield reader
                yield from _on_integers(reader)
            elif reader.op_type != "DequantizeLinear":
                raise ModelError(
                    f"operator {reader.op_type} (node '{reader.name}') computes with integers and has no float form; "
                    f"{_CURE}"
                )


def _recasts(node: ir.Node) -> bool:
    """Return whether *node* gives integers another integer type."""
    to = node.attributes.get_int("to", 0) if node.op_type == "Cast" else 0
    return to != 0 and ir.DataType(to).is_integer()


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
        x.name, x.shape, x.dtype = name, x.shape or y.shape, _real_dtype(x)


def _real_dtype(x: ir.Value) -> ir.DataType:
    """Return the dtype of the real tensor *x*; float32 where it is not known."""
    return x.dtype if x.dtype is not None and x.dtype.is_floating_point() else ir.DataType.FLOAT


def _graph(node: ir.Node) -> ir.Graph:
    assert isinstance(node.graph, ir.Graph)
    return node.graph
