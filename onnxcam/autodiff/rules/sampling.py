"""Sampling of images between their elements: GridSample, AffineGrid.

A sample is a weighted sum over the neighbours of a point. Along each axis the weights are polynomials of the point's
position between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.cotangents import zeros_like
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import rank

Polynomials = tuple[tuple[float, ...], ...]  # one for each neighbour, highest power first

LINEAR: Polynomials = ((-1.0, 1.0), (1.0, 0.0))
CUBIC: Polynomials = (
    (-0.75, 1.5, -0.75, 0.0),
    (1.25, -2.25, 0.0, 1.0),
    (-1.25, 1.5, 0.75, 0.0),
    (0.75, -0.75, 0.0, 0.0),
)
NEAREST: Polynomials = ((1.0,),)


@dataclass(frozen=True)
class Coordinate:
    """Coordinates of points along one axis of an image, in pixels."""

    at: V  # [N, P]
    length: V  # of the axis, int64 [1]
    slope: V | float = 1.0  # its derivative with respect to the operator's input


@dataclass(frozen=True)
class Samples:
    """The K neighbours of each of the P points in each of N images."""

    op: Emitter
    places: V  # int64 [N, P K], indices into the flattened image
    weights: Sequence[V]  # [N, P, K] along each axis
    slopes: Sequence[V]  # their derivatives

    def back(self, dy: V, x: V) -> V:
        """Return the gradient of *x* [N, C, ...], given *dy* [N, C, P] for samples of it."""
        return self.add_up(self.op.Mul(self.op.Unsqueeze(dy, [3]), self.weight()), x)

    def weight(self) -> V:
        """Return the weights of the neighbours, [N, 1, P, K]."""
        return self.op.Unsqueeze(reduce(self.op.Mul, self.weights), [1])

    def add_up(self, parts: V, x: V) -> V:
        """Return the sums of *parts* [N, C, P, K] at their neighbours, in the shape of *x*."""
        op = self.op
        parts = op.Reshape(parts, op.Concat(op.Shape(x, end=2), [-1], axis=0))
        flat = op.Reshape(zeros_like(op, x), [0, 0, -1])
        return op.Reshape(op.scatter_add(flat, self._spread(x), parts, axis=2), op.Shape(x))

    def products(self, dy: V, x: V) -> V:
        """Return Σ dy x over the channels, for each neighbour, [N, P, K]."""
        op = self.op
        return op.ReduceSum(op.Mul(op.Unsqueeze(dy, [3]), self.neighbours(x)), [1], keepdims=0)

    def neighbours(self, x: V) -> V:
        """Return the values of the neighbours, [N, C, P, K]."""
        op = self.op
        picked = op.GatherElements(op.Reshape(x, [0, 0, -1]), self._spread(x), axis=2)
        return op.Reshape(picked, op.Concat([0, 0], op.Shape(self.weights[0], start=1), axis=0))

    def _spread(self, x: V) -> V:
        op = self.op
        shape = op.Concat(op.Shape(x, end=2), op.Shape(self.places, start=1), axis=0)
        return op.Expand(op.Unsqueeze(self.places, [1]), shape)

    def along(self, axis: int, products: V) -> V:
        """Return the gradient of the points' coordinates along *axis*, [N, P]."""
        factors = [self.slopes[i] if i == axis else weight for i, weight in enumerate(self.weights)]
        return self.op.ReduceSum(reduce(self.op.Mul, factors, products), [2], keepdims=0)


def samples(
    op: Emitter, axes: Sequence[Coordinate], curves: Polynomials, padding: str, reach: int = 0, like: V | None = None
) -> Samples:
    """Return the neighbours of points, len(*curves*) along each axis.

    *padding* outside the image: 'zeros', 'border' (the nearest pixel) or 'reflection', which mirrors at the outer edges
    of the last pixels if *reach* is 1, at their centres if it is 0.
    """
    dtype = axes[0].at.dtype or ir.DataType.FLOAT
    chosen = np.asarray(list(product(range(len(curves)), repeat=len(axes)))).T
    places, weights, slopes = None, [], []
    for coordinate, pick in zip(axes, chosen, strict=True):
        at = op.Unsqueeze(coordinate.at, [2])
        first = op.Round(at) if len(curves) == 1 else op.Floor(at)
        table = np.asarray(curves)[pick]
        between = op.Sub(at, first)
        weight = _polynomial(op, table, between, dtype)
        slope = _polynomial(op, table[:, :-1] * np.arange(table.shape[1] - 1, 0, -1), between, dtype)
        index = op.Add(op.Cast(first, to=int(ir.DataType.INT64)), pick - (len(curves) - 1) // 2)
        last = op.Sub(coordinate.length, 1)
        if padding == "zeros":
            inside = op.flag(op.Equal(index, op.Max(op.Min(index, last), 0)), coordinate.at)
            weight, slope = op.Mul(weight, inside), op.Mul(slope, inside)
        elif padding == "reflection":
            index = op.Where(op.Less(index, 0), op.Sub(-reach, index), index)
            index = op.Where(op.Greater(index, last), op.Sub(op.Add(op.Mul(last, 2), reach), index), index)
        index = op.Max(op.Min(index, last), 0)
        places = index if places is None else op.Add(op.Mul(places, coordinate.length), index)
        weights.append(weight)
        slopes.append(slope)
    return Samples(op, op.Reshape(places, [0, -1]), weights, slopes)


def _polynomial(op: Emitter, table: np.ndarray, t: V, dtype: ir.DataType) -> V:
    """Return for each row of *table*, its highest power first, the polynomial of *t* [N, P, 1], as [N, P, K]."""
    if table.shape[1] == 0:
        return op.Mul(t, op.const(np.zeros(len(table)), dtype))
    value = (
        op.Add(op.Mul(t, 0.0), op.const(table[:, 0], dtype)) if table.shape[1] == 1 else op.const(table[:, 0], dtype)
    )
    for column in table.T[1:]:
        value = op.Add(op.Mul(value, t), op.const(column, dtype))
    return value


@rule("GridSample")
def grid_sample(op: Emitter, node: ir.Node, dy: V, x: V, grid: V) -> Gradients:
    """y: samples of x [N, C, ...] at the points of grid, in coordinates from -1 to 1, last spatial axis first."""
    mode = node.attributes.get_string("mode", "linear")
    padding = node.attributes.get_string("padding_mode", "zeros")
    align = node.attributes.get_int("align_corners", 0)
    curves = {"nearest": NEAREST, "cubic": CUBIC, "bicubic": CUBIC}.get(mode, LINEAR)
    spatial = rank(x) - 2
    points = op.Reshape(grid, [0, -1, spatial])
    columns = op.Split(points, axis=2, num_outputs=spatial, outputs=spatial)
    axes = [
        _denormalised(op, op.Squeeze(columns[spatial - 1 - i], [2]), op.dim(x, i + 2), padding, align, mode)
        for i in range(spatial)
    ]
    near = samples(op, axes, curves, padding, 1 - align)
    flat = op.Reshape(dy, [0, 0, -1])

    def to_grid() -> V:
        if curves is NEAREST:
            return zeros_like(op, grid)
        products = near.products(flat, x)
        parts = [op.Unsqueeze(op.Mul(near.along(i, products), axes[i].slope), [2]) for i in reversed(range(spatial))]
        return op.Reshape(op.Concat(*parts, axis=2), op.Shape(grid))

    return lambda: near.back(flat, x), to_grid


def _denormalised(op: Emitter, g: V, length: V, padding: str, align: int, mode: str) -> Coordinate:
    """Return the pixel at *g*: -1 and 1 are the centres of the outermost pixels if *align*, else their outer edges."""
    size = op.flag(length, g)
    last = op.Sub(size, 1.0)
    scale = op.Mul(last if align else size, 0.5)
    at = op.Add(op.Mul(g, scale), op.Mul(last, 0.5))
    if mode == "nearest":
        return Coordinate(at if padding == "zeros" else op.Round(at), length, scale)
    if padding == "border" and "cubic" not in mode:
        inside = op.And(op.Greater(at, 0.0), op.Less(at, last))
        return Coordinate(op.Max(op.Min(at, last), 0.0), length, op.mask(scale, inside))
    if padding == "reflection" and "cubic" not in mode:
        low = 0.0 if align else -0.5
        span = op.Max(op.Mul(scale, 2.0), 1e-6)
        beyond = op.Sub(at, low)
        wave = op.Mod(op.Abs(beyond), op.Mul(span, 2.0), fmod=1)
        folded = op.Add(op.Sub(span, op.Abs(op.Sub(wave, span))), low)
        return Coordinate(folded, length, op.Mul(scale, op.Mul(op.Sign(beyond), op.Sign(op.Sub(span, wave)))))
    return Coordinate(at, length, scale)


@rule("AffineGrid")
def affine_grid(op: Emitter, node: ir.Node, dy: V, theta: V, size: V) -> Gradients:
    """y = [p 1] thetaᵀ at the points p of the grid of the identity: dtheta = dyᵀ [p 1]."""
    align = node.attributes.get_int("align_corners", 0)
    length = None if size.shape is None else size.shape[0]
    axes = (length if isinstance(length, int) else rank(node.outputs[0])) - 2
    eye = op.const(np.eye(axes, axes + 1)[None], theta.dtype or ir.DataType.FLOAT)
    shape = op.Concat([1], op.Slice(size, [1], [np.iinfo(np.int64).max]), axis=0)
    points = op.Reshape(op.AffineGrid(eye, shape, align_corners=align), [-1, axes])
    points = op.Pad(points, [0, 1], op.const(1, theta.dtype or ir.DataType.FLOAT), [1])
    return op.MatMul(op.Transpose(op.Reshape(dy, [0, -1, axes]), perm=[0, 2, 1]), points), None
