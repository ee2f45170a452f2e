"""Pointwise functions of one tensor: rectifiers, sigmoid-like and elementary functions.

Rectifiers read their output rather than their input where either would do, so that ONNX Runtime still fuses
them with the convolution before them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir

from onnxcam.autodiff.rules import codes
from onnxcam.autodiff.slices import pointwise_axes
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant


@rule("Relu", along=pointwise_axes)
def relu(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = max(x, 0): dx = dy [y > 0]; in front of QuantizeLinear by its codes."""
    rounded = codes.rounding(node.outputs[0])
    if rounded is not None:
        return (codes.rectified(op, rounded, dy, 0.0, None),)
    return (op.Mul(dy, op.step(node.outputs[0])),)


@rule("LeakyRelu", along=pointwise_axes)
def leaky_relu(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x where x > 0, else α x: dx = dy (1 or α)."""
    alpha = node.attributes.get_float("alpha", 0.01)
    source = node.outputs[0] if alpha >= 0 else x
    return (op.Mul(dy, _one_or(op, op.Greater(source, 0.0), op.const(alpha, x.dtype or ir.DataType.FLOAT))),)


@rule("PRelu", broadcast=True, along=pointwise_axes)
def prelu(op: Emitter, node: ir.Node, dy: V, x: V, slope: V) -> Gradients:
    """y = x where x > 0, else s x: dx = dy (1 or s), ds = dy min(x, 0)."""
    factor = _one_or(op, op.Greater(x, 0.0), slope)
    return op.Mul(dy, factor), lambda: op.Mul(dy, op.Min(x, 0.0))


def _one_or(op: Emitter, condition: V, other: V) -> V:
    """Return 1 where *condition* holds, else *other*; Max is faster than Where."""
    known = constant(other)
    if known is not None and (known <= 1).all() and (known >= 0).all():
        return op.Max(op.flag(condition, other), other)
    return op.Where(condition, 1.0, other)


@rule("ThresholdedRelu", along=pointwise_axes)
def thresholded_relu(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x where x > α, else 0: dx = dy [x > α]."""
    return (op.mask(dy, op.Greater(x, node.attributes.get_float("alpha", 1.0))),)


@rule("Shrink", along=pointwise_axes)
def shrink(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x ± bias where |x| > λ, else 0: dx = dy [|x| > λ]."""
    return (op.mask(dy, op.Greater(op.Abs(x), node.attributes.get_float("lambd", 0.5))),)


@rule("Clip", broadcast=True, along=pointwise_axes)
def clip(op: Emitter, node: ir.Node, dy: V, x: V, low: V | None = None, high: V | None = None) -> Gradients:
    """y = min(max(x, low), high): dx = dy [y = x]; each bound gets dy where y equals it.

    The gradient passes at x = low and x = high, as in PyTorch's clamp; in front of QuantizeLinear, whose codes tell
    what is clipped, it does not.
    """

    def d_low() -> V:
        below = op.Less(x, low)
        return op.mask(dy, below if high is None else op.And(below, op.LessOrEqual(low, high)))

    def d_high() -> V:
        return op.mask(dy, op.Greater(x if low is None else op.Max(x, low), high))

    if low is None and high is None:
        return dy, None, None
    rounded, bounds = codes.rounding(node.outputs[0]), [constant(bound) for bound in (low, high)]
    if rounded is not None and all((a is None) == (b is None) for a, b in zip(bounds, (low, high), strict=True)):
        least, most = (None if bound is None else float(bound.item()) for bound in bounds)
        return codes.rectified(op, rounded, dy, least, most), d_low, d_high
    return op.mask(dy, op.Equal(x, node.outputs[0])), d_low, d_high


@rule("Elu", along=pointwise_axes)
def elu(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x where x > 0, else α (e^x - 1): dx = dy (1 or y + α)."""
    return (op.Mul(dy, _exponential(op, node, x, node.attributes.get_float("alpha", 1.0), 1.0)),)


@rule("Selu", along=pointwise_axes)
def selu(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = γ x where x > 0, else γ α (e^x - 1): dx = dy (γ or y + γ α)."""
    gamma = node.attributes.get_float("gamma", 1.0507010221481323)
    alpha = node.attributes.get_float("alpha", 1.6732631921768188)
    return (op.Mul(dy, _exponential(op, node, x, gamma * alpha, gamma)),)


def _exponential(op: Emitter, node: ir.Node, x: V, scale: float, slope: float) -> V:
    """Return *slope* where x > 0, else y + *scale*, the derivative of y = scale (e^x - 1)."""
    (y,) = node.outputs
    if scale == slope == 1.0:
        return op.Add(op.Min(y, 0.0), 1.0)
    return op.Where(op.Greater(x, 0.0), slope, op.Add(y, scale))


@rule("Celu", along=pointwise_axes)
def celu(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x where x > 0, else α (e^(x/α) - 1): dx = dy (1 + min(y, 0) / α)."""
    alpha = node.attributes.get_float("alpha", 1.0)
    return (op.Mul(dy, op.Add(op.Mul(op.Min(node.outputs[0], 0.0), 1 / alpha), 1.0)),)


@rule("Sigmoid", along=pointwise_axes)
def sigmoid(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = 1 / (1 + e^-x): dx = dy y (1 - y)."""
    (y,) = node.outputs
    return (op.Mul(dy, op.Mul(y, op.Sub(1.0, y))),)


@rule("HardSigmoid", along=pointwise_axes)
def hard_sigmoid(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = min(max(α x + β, 0), 1): dx = dy α [0 < y < 1]."""
    (y,) = node.outputs
    inside = op.step(op.Sub(y, op.Mul(y, y)))
    return (op.Mul(dy, op.Mul(inside, node.attributes.get_float("alpha", 0.2))),)


@rule("HardSwish", along=pointwise_axes)
def hard_swish(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x s with s = min(max(x/6 + 1/2, 0), 1): dx = dy (s + x/6 [|x| < 3])."""
    gate = op.HardSigmoid(x, alpha=1 / 6, beta=0.5)
    sixth = op.HardSigmoid(op.step(op.Mul(x, x), -1.0, 9.0), alpha=1 / 6, beta=0.0)  # where |x| < 3
    return (op.Mul(dy, op.Add(gate, op.Mul(x, sixth))),)


@rule("Swish", along=pointwise_axes)
def swish(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x s with s = sigmoid(α x): dx = dy (s + α y (1 - s))."""
    alpha = node.attributes.get_float("alpha", 1.0)
    gate = op.Sigmoid(_scaled(op, x, alpha))
    return (op.Mul(dy, op.Add(gate, op.Mul(_scaled(op, node.outputs[0], alpha), op.Sub(1.0, gate)))),)


def _scaled(op: Emitter, x: V, factor: float) -> V:
    return x if factor == 1.0 else op.Mul(x, factor)


@rule("Softsign", along=pointwise_axes)
def softsign(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x / (1 + |x|): dx = dy (1 - |y|)²."""
    rest = op.Sub(1.0, op.Abs(node.outputs[0]))
    return (op.Mul(dy, op.Mul(rest, rest)),)


@rule("Mish", along=pointwise_axes)
def mish(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x t with t = tanh(softplus(x)): dx = dy (t + x (1 - t²) sigmoid(x))."""
    t = op.Tanh(op.Softplus(x))
    slope = op.Mul(op.Sub(1.0, op.Mul(t, t)), op.Mul(x, op.Sigmoid(x)))
    return (op.Mul(dy, op.Add(t, slope)),)


@rule("Gelu", along=pointwise_axes)
def gelu(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x Φ(x), Φ the normal distribution or its approximation by tanh: dx = dy (Φ + x Φ').

    With u = x / √2: Φ = (1 + erf u) / 2 and x Φ' = u / (√π exp u²).
    """
    if node.attributes.get_string("approximate", "none") == "tanh":
        return (op.Mul(dy, _gelu_tanh(op, node, x)),)
    u = op.Mul(x, math.sqrt(0.5))
    share = op.HardSigmoid(op.Erf(u), alpha=0.5, beta=0.5)
    density = op.Mul(op.Div(u, op.Exp(op.Mul(u, u))), 1 / math.sqrt(math.pi))
    return (op.Mul(dy, op.Add(share, density)),)


def _gelu_tanh(op: Emitter, node: ir.Node, x: V) -> V:
    """With (1 + tanh z) / 2 = sigmoid(2 z) = s and 2 z = a x + b x³: s + y (1 - s) (a + 3 b x²)."""
    a = math.sqrt(8 / math.pi)
    b = 0.044715 * a
    square = op.Mul(x, x)
    gate = op.Sigmoid(op.Mul(x, op.Add(op.Mul(square, b), a)))
    slope = op.Mul(op.Sub(1.0, gate), op.Add(op.Mul(square, 3 * b), a))
    return op.Add(gate, op.Mul(node.outputs[0], slope))


SLOPES: dict[str, Callable[[Emitter, V, V], V]] = {
    "Abs": lambda op, x, y: op.Sign(x),
    "Cos": lambda op, x, y: op.Neg(op.Sin(x)),
    "Cosh": lambda op, x, y: op.Sinh(x),
    "Erf": lambda op, x, y: op.Div(2 / math.sqrt(math.pi), op.Exp(op.Mul(x, x))),  # Neg is slow
    "Exp": lambda op, x, y: y,
    "Reciprocal": lambda op, x, y: op.Neg(op.Mul(y, y)),
    "Sin": lambda op, x, y: op.Cos(x),
    "Sinh": lambda op, x, y: op.Cosh(x),
    "Softplus": lambda op, x, y: op.Sigmoid(x),
    "Tan": lambda op, x, y: op.Add(op.Mul(y, y), 1.0),
    "Tanh": lambda op, x, y: op.Sub(1.0, op.Mul(y, y)),
}
"""Derivatives f'(x) of functions y = f(x), from x and y."""

DIVISORS: dict[str, Callable[[Emitter, V, V], V]] = {
    "Acos": lambda op, x, y: op.Neg(op.Sqrt(op.Sub(1.0, op.Mul(x, x)))),
    "Acosh": lambda op, x, y: op.Sqrt(op.Sub(op.Mul(x, x), 1.0)),
    "Asin": lambda op, x, y: op.Sqrt(op.Sub(1.0, op.Mul(x, x))),
    "Asinh": lambda op, x, y: op.Sqrt(op.Add(op.Mul(x, x), 1.0)),
    "Atan": lambda op, x, y: op.Add(op.Mul(x, x), 1.0),
    "Atanh": lambda op, x, y: op.Sub(1.0, op.Mul(x, x)),
    "Log": lambda op, x, y: x,
    "Sqrt": lambda op, x, y: op.Mul(y, 2.0),
}
"""Reciprocals 1 / f'(x) of further derivatives."""


@rule(*SLOPES, along=pointwise_axes)
def elementary(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = f(x): dx = dy f'."""
    return (op.Mul(dy, SLOPES[node.op_type](op, x, node.outputs[0])),)


@rule(*DIVISORS, along=pointwise_axes)
def elementary_inverse(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = f(x): dx = dy / (1 / f')."""
    return (op.Div(dy, DIVISORS[node.op_type](op, x, node.outputs[0])),)
