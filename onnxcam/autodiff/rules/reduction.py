"""Reductions, cumulative sums and products, and the largest entries along axes."""

from __future__ import annotations

from functools import reduce

import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.cotangents import zeros_like
from onnxcam.autodiff.rules.arithmetic import cast_to, nonzero
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant


def keepdims(op: Emitter, node: ir.Node, z: V, axes: V | None) -> V:
    """Return *z*, of the shape of the reduction's output, so that it broadcasts against its input.

    Without axes it does already: the output is a scalar, or nothing was reduced.
    """
    if node.attributes.get_int("keepdims", 1) or axes is None:
        return z
    return op.Unsqueeze(z, axes)


def again(op: Emitter, node: ir.Node, op_type: str, z: V, axes: V | None) -> V:
    """Return the reduction *op_type* of *z*, of the input's shape, over the node's axes, with keepdims."""
    noop = node.attributes.get_int("noop_with_empty_axes", 0)
    return op.emit(op_type, [z, axes], attributes={"keepdims": 1, "noop_with_empty_axes": noop})


@rule("ReduceSum")
def reduce_sum(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = Σ x: every summand gets dy."""
    return core.Repeated(keepdims(op, node, dy, axes)), None


@rule("ReduceMean")
def reduce_mean(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = Σ x / n: every summand gets dy / n."""
    share = op.Div(dy, cast_to(op, _count(op, node, x, axes), dy))
    return core.Repeated(keepdims(op, node, share, axes)), None


def _count(op: Emitter, node: ir.Node, x: V, axes: V | None) -> V:
    """Return the number of entries of *x* in each entry of the output, int64, for broadcasting."""
    known = constant(axes)
    if known is not None and known.size and x.shape is not None:
        return reduce(op.Mul, [op.dim(x, int(axis)) for axis in known.ravel()])
    sizes = [op.ReduceProd(op.Shape(z), keepdims=0) for z in (x, node.outputs[0])]
    return op.Div(*sizes)


@rule("ReduceMax", "ReduceMin")
def reduce_extremum(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = max x: the largest entry gets dy; equal ones share it."""
    dy, y = (keepdims(op, node, z, axes) for z in (dy, node.outputs[0]))
    wins = op.flag(op.Equal(x, y), x)
    return op.Mul(wins, op.Div(dy, again(op, node, "ReduceSum", wins, axes))), None


@rule("ReduceProd")
def reduce_prod(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = Π x: each factor gets dy times the product of the others, which is 0 if one of these is 0."""
    zeros = op.flag(op.Equal(x, 0.0), x)
    factors = op.Add(x, zeros)
    others = op.Div(again(op, node, "ReduceProd", factors, axes), factors)
    only = op.Equal(again(op, node, "ReduceSum", zeros, axes), zeros)
    return op.Mul(keepdims(op, node, dy, axes), op.mask(others, only)), None


@rule("ReduceL1")
def reduce_l1(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = Σ |x|: dx = dy sign(x)."""
    return op.Mul(keepdims(op, node, dy, axes), op.Sign(x)), None


@rule("ReduceL2")
def reduce_l2(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = √Σ x²: dx = dy x / y, zero where y is."""
    return op.Mul(keepdims(op, node, op.Div(dy, nonzero(op, node.outputs[0])), axes), x), None


@rule("ReduceSumSquare")
def reduce_sum_square(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = Σ x²: dx = 2 dy x."""
    return op.Mul(keepdims(op, node, op.Mul(dy, 2.0), axes), x), None


@rule("ReduceLogSum")
def reduce_log_sum(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = ln Σ x: every summand gets dy / e^y."""
    share = op.Div(dy, op.Exp(node.outputs[0]))
    return core.Repeated(keepdims(op, node, share, axes)), None


@rule("ReduceLogSumExp")
def reduce_log_sum_exp(op: Emitter, node: ir.Node, dy: V, x: V, axes: V | None = None) -> Gradients:
    """y = ln Σ e^x: dx = dy e^(x - y)."""
    dy, y = (keepdims(op, node, z, axes) for z in (dy, node.outputs[0]))
    return op.Mul(dy, op.Exp(op.Sub(x, y))), None


@rule("CumSum")
def cum_sum(op: Emitter, node: ir.Node, dy: V, x: V, axis: V) -> Gradients:
    """The sum of all entries up to here: dx is the sum of dy from here on."""
    return _reversed_sum(op, node, dy, axis), None


@rule("CumProd")
def cum_prod(op: Emitter, node: ir.Node, dy: V, x: V, axis: V) -> Gradients:
    """The product of all entries up to here: dx is the sum of dy y from here on, over x, which is not 0."""
    return op.Div(_reversed_sum(op, node, op.Mul(dy, node.outputs[0]), axis), x), None


def _reversed_sum(op: Emitter, node: ir.Node, z: V, axis: V) -> V:
    exclusive, backward = node.attributes.get_int("exclusive", 0), node.attributes.get_int("reverse", 0)
    return op.CumSum(z, axis, exclusive=exclusive, reverse=1 - backward)


@rule("TopK")
def top_k(op: Emitter, node: ir.Node, dy: V, x: V, k: V) -> Gradients:
    """The k largest entries and their indices: dx is dy at these indices."""
    axis = node.attributes.get_int("axis", -1)
    return op.ScatterElements(zeros_like(op, x), node.outputs[1], dy, axis=axis), None
