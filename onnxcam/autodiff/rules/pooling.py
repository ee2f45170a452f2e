"""Pooling over windows and over all positions.

A sum over windows is separable: along each axis it is a product with a matrix of zeros and ones, one row a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.rules.convolution import padding_of
from onnxcam.autodiff.rules.resize import contract
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.infer import gradient_dtype


@rule("MaxPool")
def max_pool(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x[i], i the index of the window's first maximum: dx[i] += dy."""
    column_major = node.attributes.get_int("storage_order", 0)
    if len(node.outputs) > 1 and not column_major:
        places = node.outputs[1]
    else:  # a second MaxPool, as ONNX Runtime's MaxPool with indices is slower
        settings = {name: a.value for name, a in node.attributes.items() if name != "storage_order"}
        _, places = op.MaxPool(x, outputs=2, **settings)
    zeros = _zeros(op, op.ReduceProd(op.Shape(x), keepdims=1), x)
    sums = op.scatter_add(zeros, op.Reshape(places, [-1]), op.Reshape(dy, [-1]))
    return (op.reshape_like(sums, x),)


@rule("MaxUnpool")
def max_unpool(op: Emitter, node: ir.Node, dy: V, x: V, places: V, shape: V | None = None) -> Gradients:
    """y[i] = x at the indices i into y: dx = dy[i]."""
    return op.Gather(op.Reshape(dy, [-1]), places), None, None


@rule("GlobalMaxPool")
def global_max_pool(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x[i], i the index of the first maximum: dx[i] = dy."""
    flat = op.Concat(op.Shape(x, end=2), op.ReduceProd(op.Shape(x, start=2), keepdims=1), axis=0)
    place = op.ArgMax(op.Reshape(x, flat), axis=2, keepdims=1)
    placed = op.ScatterElements(_zeros(op, flat, x), place, op.Reshape(dy, [0, 0, 1]), axis=2)
    return (op.reshape_like(placed, x),)


def _zeros(op: Emitter, shape: V, like: V) -> V:
    zero = np.zeros(1, gradient_dtype(like).numpy())
    return op.ConstantOfShape(shape, value=ir.tensor(zero))


@rule("GlobalAveragePool")
def global_average_pool(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = Σ x / n: dx = dy / n."""
    count = op.flag(op.ReduceProd(op.Shape(x, start=2), keepdims=0), x)
    return (core.Repeated(op.Div(dy, count)),)


@rule("AveragePool")
def average_pool(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = Σ x / n over each window, n = n₁ n₂ … axis by axis: dx gathers dy / n from the windows."""
    windows = PoolingWindows(op, node, x)
    if windows.is_one():
        return (core.Repeated(op.Div(dy, float(np.prod(windows.kernel)))),)
    return (windows.spread(dy, windows.mean),)


@rule("LpPool")
def lp_pool(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = (Σ |x|^p)^(1/p): dx = sign(x) |x|^(p-1) Σ dy / y^(p-1) over the windows with x in them."""
    power = node.attributes.get_int("p", 2)
    windows = PoolingWindows(op, node, x)
    return (_powered(op, x, windows.spread(_unpowered(op, node, dy, power), windows.sum), power),)


@rule("GlobalLpPool")
def global_lp_pool(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = (Σ |x|^p)^(1/p): dx = sign(x) |x|^(p-1) dy / y^(p-1)."""
    power = node.attributes.get_int("p", 2)
    spread = _unpowered(op, node, dy, power)
    return (_powered(op, x, op.Expand(spread, op.Shape(x)) if power == 1 else spread, power),)


def _unpowered(op: Emitter, node: ir.Node, dy: V, power: int) -> V:
    """Return dy / y^(p-1), zero where y is."""
    if power == 1:
        return dy
    (y,) = node.outputs
    return op.Where(op.Greater(y, 0.0), op.Div(dy, _power(op, y, power - 1)), 0.0)


def _powered(op: Emitter, x: V, dx: V, power: int) -> V:
    """Return sign(x) |x|^(p-1) dx."""
    if power % 2 == 0:
        return op.Mul(_power(op, x, power - 1), dx)
    slope = op.Sign(x) if power == 1 else op.Mul(x, _power(op, op.Abs(x), power - 2))
    return op.Mul(slope, dx)


def _power(op: Emitter, x: V, power: int) -> V:
    return x if power == 1 else op.Pow(x, float(power))


class PoolingWindows:
    """The windows of a pooling *node* over *x*, axis by axis."""

    def __init__(self, op: Emitter, node: ir.Node, x: V) -> None:
        self.op, self.x, self.y = op, x, node.outputs[0]
        self.kernel = list(node.attributes.get_ints("kernel_shape"))
        n = len(self.kernel)
        self.strides = list(node.attributes.get_ints("strides", [1] * n))
        self.dilations = list(node.attributes.get_ints("dilations", [1] * n))
        extents = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        covered = op.Add(op.Mul(op.Sub(op.Shape(self.y, start=2), 1), self.strides), extents)
        self.pads = padding_of(op, node, n, lambda: op.Sub(covered, op.Shape(x, start=2)))
        self.counts_pads = bool(node.attributes.get_int("count_include_pad", 0))

    def is_one(self) -> bool:
        """Whether there is one window, known to cover all of x."""
        pads, x, y = constant(self.pads), self.x.shape, self.y.shape
        if pads is None or pads.any() or x is None or y is None:
            return False
        return list(x[2:]) == self.kernel and all(dim == 1 for dim in y[2:])

    def spread(self, dy: V, matrix: Any) -> V:
        """Return for each position the sum of *dy* over the windows that contain it, weighted by *matrix*."""
        n = len(self.kernel)
        return contract(self.op, dy, range(2, 2 + n), matrix, 2 + n)

    def sum(self, axis: int, left: bool) -> V:
        """Return the matrix of sums along *axis*: 1 where the window (row) contains the position (column)."""
        op, i = self.op, axis - 2
        positions = op.Range(0, op.Squeeze(op.dim(self.x, axis), [0]), 1)
        offset = op.Sub(
            op.Unsqueeze(positions, [1 if left else 0]), op.Unsqueeze(self._starts(axis), [0 if left else 1])
        )
        inside = op.And(op.GreaterOrEqual(offset, 0), op.Less(offset, self.kernel[i] * self.dilations[i]))
        if self.dilations[i] > 1:
            inside = op.And(inside, op.Equal(op.Mod(offset, self.dilations[i]), 0))
        return op.flag(inside, self.x)

    def mean(self, axis: int, left: bool) -> V:
        """Return the matrix of means along *axis*."""
        op = self.op
        counts = op.flag(self._counts(axis), self.x)
        return op.Div(self.sum(axis, left), op.Unsqueeze(counts, [0 if left else 1]))

    def _starts(self, axis: int) -> V:
        """Return where each window starts; 0 is the first position of x."""
        op, i = self.op, axis - 2
        windows = op.Range(0, op.Squeeze(op.dim(self.y, axis), [0]), 1)
        return op.Sub(op.Mul(windows, self.strides[i]), op.Gather(self.pads, i))

    def _counts(self, axis: int) -> V:
        """Return the number of taps of each window on x, or on x and its padding."""
        op, i = self.op, axis - 2
        k, d = self.kernel[i], self.dilations[i]
        starts, end = self._starts(axis), op.Squeeze(op.dim(self.x, axis), [0])
        if self.counts_pads:
            end = op.Add(end, op.Gather(self.pads, i + len(self.kernel)))
        behind = op.Min(op.Div(op.Add(op.Sub(end, starts), d - 1), d), k)
        if self.counts_pads:
            return behind
        return op.Sub(behind, op.Div(op.Add(op.Max(op.Neg(starts), 0), d - 1), d))
