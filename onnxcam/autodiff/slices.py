"""Cotangents that are zero outside consecutive positions along one axis, as that of a class token.

Most operators pass them on: their rule is applied to these positions of their inputs and outputs. A rule names the axis
of each input that belongs to an axis of the output (trait ``along``). An operator that picks consecutive positions of
its input starts such a cotangent (trait ``selects``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import rank, same

__all__ = [
    "InputAxes",
    "NodeSlice",
    "SlicedCotangent",
    "consecutive",
    "joined",
    "matrix_axes",
    "node_slice",
    "permuted_axis",
    "pointwise_axes",
    "reshaped_axis",
    "row_axes",
    "same_place",
    "softmax_axis",
]

InputAxes: TypeAlias = "list[int | None] | None"
"""For each input its axis, None where the whole input is needed; None if the operator mixes the positions."""


@dataclass(frozen=True)
class SlicedCotangent:
    """A cotangent: *value* at *length* positions from *begin* on along *axis*, zero elsewhere."""

    axis: int
    begin: int
    length: int
    value: ir.Value

    def dense(self, op: Emitter, y: ir.Value) -> ir.Value:
        """Return the cotangent of *y* as a tensor."""
        assert y.shape is not None
        length = y.shape[self.axis]
        assert isinstance(length, int)
        pads = [self.begin, length - self.begin - self.length]
        padded = op.pad(self.value, pads, [self.axis], len(y.shape))
        padded.shape = y.shape
        return padded

    def of(self, op: Emitter, x: ir.Value, axis: int) -> ir.Value:
        """Return these positions of *x* along *axis*."""
        assert x.shape is not None
        dims = list(x.shape)
        dims[axis] = self.length
        part: ir.Value = op.Slice(x, [self.begin], [self.begin + self.length], [axis])
        part.shape = ir.Shape(dims)
        return part

    def moved(self, axis: int, value: ir.Value) -> SlicedCotangent:
        """Return *value* at these positions along *axis*."""
        return SlicedCotangent(axis, self.begin, self.length, value)

    @property
    def place(self) -> tuple[int, int, int]:
        """The axis, the first position and the number of positions."""
        return self.axis, self.begin, self.length


def same_place(parts: Sequence[object]) -> bool:
    """Whether *parts* are sliced cotangents at the same positions."""
    return len({part.place if isinstance(part, SlicedCotangent) else id(part) for part in parts}) == 1 and isinstance(
        parts[0], SlicedCotangent
    )


def joined(op: Emitter, parts: Sequence[Any], y: ir.Value) -> list[Any]:
    """Return *parts* with sliced cotangents that cover *y* without overlap in one tensor: no zeros are added."""
    slices = sorted((part for part in parts if isinstance(part, SlicedCotangent)), key=lambda part: part.place)
    if len(slices) < 2 or len({part.axis for part in slices}) > 1:
        return list(parts)
    axis, end = slices[0].axis, 0
    for part in slices:
        if part.begin != end:
            return list(parts)
        end += part.length
    if y.shape is None or y.shape[axis] != end:
        return list(parts)
    whole = op.Concat(*[part.value for part in slices], axis=axis)
    return [whole, *(part for part in parts if not isinstance(part, SlicedCotangent))]


@dataclass(frozen=True)
class NodeSlice:
    """A node restricted to some positions: what rules read of it."""

    node: ir.Node
    inputs: Sequence[ir.Value | None]
    outputs: Sequence[ir.Value]
    axes: Sequence[int | None]  # of the inputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def node_slice(op: Emitter, node: ir.Node, axes: InputAxes, part: SlicedCotangent) -> NodeSlice | None:
    """Return *node* at the positions of *part*, the cotangent of its first output; None if *axes* do not allow it."""
    if axes is None:
        return None
    inputs = [
        x if x is None or axis is None else part.of(op, x, axis) for x, axis in zip(node.inputs, axes, strict=True)
    ]
    first, *others = node.outputs
    return NodeSlice(node, inputs, [part.of(op, first, part.axis), *others], axes)


def pointwise_axes(node: ir.Node, axis: int) -> InputAxes:
    """Any inputs that broadcast against each other."""
    return _broadcast(list(node.inputs), node.outputs[0], axis - rank(node.outputs[0]))


def _broadcast(xs: Sequence[ir.Value | None], y: ir.Value, axis: int) -> InputAxes:
    """Return the axes of *xs* at *axis* of *y*, counted from the end."""
    found: list[int | None] = []
    for x in xs:
        if x is not None and x.shape is None:
            return None
        if x is None or rank(x) < -axis or x.shape[axis] == 1:  # type: ignore[index]
            found.append(None)
        elif same(x.shape[axis], y.shape[axis]):  # type: ignore[index]
            found.append(rank(x) + axis)
        else:
            return None
    return found


def matrix_axes(node: ir.Node, axis: int) -> InputAxes:
    """MatMul: rows of the left operand, columns of the right one, or matrices of a stack."""
    a, b = node.inputs
    (y,) = node.outputs
    if a is None or b is None or a.shape is None or b.shape is None or min(rank(a), rank(b)) < 2:
        return None
    back = axis - rank(y)
    if back < -2:
        return _broadcast([a, b], y, back)
    return [axis - rank(y) + rank(a), None] if back == -2 else [None, rank(b) - 1]


def row_axes(node: ir.Node, axis: int) -> InputAxes:
    """Gemm: rows of the left operand."""
    rows = _broadcast(list(node.inputs[2:]), node.outputs[0], axis - 2)
    if axis != 0 or rows is None:
        return None
    return [node.attributes.get_int("transA", 0), None, *rows]


def softmax_axis(node: ir.Node, axis: int) -> InputAxes:
    """Softmax and normalisation: positions outside the axes over which they go; a scale is for all positions."""
    behind = node.attributes.get_int("axis", -1) % rank(node.outputs[0])
    free = axis < behind if node.op_type == "LayerNormalization" else axis != behind
    return [axis, *[None] * (len(node.inputs) - 1)] if free else None


def permuted_axis(node: ir.Node, axis: int) -> InputAxes:
    """Transpose."""
    order = node.attributes.get_ints("perm", None) or range(rank(node.outputs[0]))[::-1]
    return [order[axis]]


def reshaped_axis(node: ir.Node, axis: int) -> InputAxes:
    """Reshape, Flatten, Squeeze and Unsqueeze: an axis that stays, with as many elements in front of it."""
    x, (y,) = node.inputs[0], node.outputs
    if x is None or x.shape is None or y.shape is None:
        return None
    for i, length in enumerate(x.shape):
        if same(length, y.shape[axis]) and _as_many(list(x.shape)[:i], list(y.shape)[:axis]):
            return [i, *[None] * (len(node.inputs) - 1)]
    return None


def _as_many(left: list[Any], right: list[Any]) -> bool:
    """Whether shapes *left* and *right* have the same number of elements; symbolic lengths cancel."""
    numbers = [prod(d for d in dims if isinstance(d, int)) for dims in (left, right)]
    symbols = [sorted(str(d) for d in dims if not isinstance(d, int)) for dims in (left, right)]
    return numbers[0] == numbers[1] and symbols[0] == symbols[1] and "None" not in symbols[0]


def consecutive(x: ir.Value, axis: int, indices: np.ndarray) -> tuple[int, int] | None:
    """Return the first of *indices* and their number, if they are consecutive positions of *x*, and not all."""
    length = None if x.shape is None else x.shape[axis]
    if not isinstance(length, int) or not indices.size or indices.size == length or (np.diff(indices) != 1).any():
        return None
    begin = int(indices[0]) + (length if indices[0] < 0 else 0)
    return (begin, indices.size) if begin >= 0 and begin + indices.size <= length else None
