"""Broadcasting arithmetic, selection between tensors, and forms of the identity."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.autodiff.slices import pointwise_axes
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.infer import gradient_dtype


@rule("Add", broadcast=True, sparse=True, along=pointwise_axes)
def add(op: Emitter, node: ir.Node, dy: V, a: V, b: V) -> Gradients:
    """y = a + b: da = db = dy."""
    return dy, dy


@rule("Sub", broadcast=True, along=pointwise_axes)
def sub(op: Emitter, node: ir.Node, dy: V, a: V, b: V) -> Gradients:
    """y = a - b: da = dy, db = -dy."""
    return dy, lambda: op.Neg(dy)


@rule("Mul", broadcast=True, along=pointwise_axes)
def mul(op: Emitter, node: ir.Node, dy: V, a: V, b: V) -> Gradients:
    """y = a b: da = dy b, db = dy a."""
    return lambda: op.Mul(dy, b), lambda: op.Mul(dy, a)


@rule("Div", broadcast=True, along=pointwise_axes)
def div(op: Emitter, node: ir.Node, dy: V, a: V, b: V) -> Gradients:
    """y = a / b: da = dy / b, db = -da y."""
    da = op.Div(dy, b)
    return da, lambda: op.Neg(op.Mul(da, node.outputs[0]))


@rule("Neg", along=pointwise_axes)
def neg(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = -x: dx = -dy."""
    return (op.Neg(dy),)


@rule("Pow", broadcast=True, along=pointwise_axes)
def pow_(op: Emitter, node: ir.Node, dy: V, a: V, b: V) -> Gradients:
    """y = a^b: da = dy b a^(b - [b ≠ 0]), db = dy y ln a, zero where a = 0."""

    def d_base() -> V:
        exponent = cast_to(op, b, a)
        if is_number(b, 2):
            return op.Mul(dy, op.Mul(a, exponent))
        less = op.Sub(exponent, op.Abs(op.Sign(exponent)))
        return op.Mul(dy, op.Mul(op.Pow(a, less), exponent))

    def d_exponent() -> V | None:
        if not _floating(b):
            return None
        log = op.Log(nonzero(op, a))
        return cast_to(op, op.Mul(dy, op.Mul(node.outputs[0], log)), b)

    return d_base, d_exponent


def nonzero(op: Emitter, x: V) -> V:
    """Return *x* with ones in place of its zeros."""
    return op.Where(op.Equal(x, 0.0), 1.0, x)


def is_number(x: V, number: float) -> bool:
    """Whether *x* is a constant of one element, *number*."""
    value = constant(x)
    return value is not None and value.size == 1 and value.item() == number


def _floating(x: V) -> bool:
    return x.dtype is None or x.dtype.is_floating_point()


def cast_to(op: Emitter, dy: V, x: V) -> V:
    """Return *dy* in the dtype of the cotangent of *x*."""
    if x.dtype is None:
        return op.CastLike(dy, x)
    return dy if dy.dtype == gradient_dtype(x) else op.Cast(dy, to=int(gradient_dtype(x)))


@rule("Mod", broadcast=True, along=pointwise_axes)
def mod(op: Emitter, node: ir.Node, dy: V, a: V, b: V) -> Gradients:
    """y = a - q b with an integer q = (a - y) / b: da = dy, db = -q dy."""
    return dy, lambda: op.Mul(dy, op.Div(op.Sub(node.outputs[0], a), b))


@rule("Max", "Min", broadcast=True, along=pointwise_axes)
def extremum(op: Emitter, node: ir.Node, dy: V, *parts: V) -> Gradients:
    """y = max(a, b, …): the largest input gets dy; equal ones share it."""
    (y,) = node.outputs
    if len(parts) == 1:
        return (dy,)
    wins = [op.flag(op.Equal(part, y), dy) for part in parts]
    share = op.Div(dy, (op.Add if len(wins) == 2 else op.Sum)(*wins))
    return tuple(op.Mul(share, win) for win in wins)


@rule("Sum", broadcast=True, sparse=True, along=pointwise_axes)
def sum_(op: Emitter, node: ir.Node, dy: V, *parts: V) -> Gradients:
    """y = a + b + …: each input gets dy."""
    return (dy,) * len(parts)


@rule("Mean", broadcast=True, along=pointwise_axes)
def mean(op: Emitter, node: ir.Node, dy: V, *parts: V) -> Gradients:
    """y = (a + b + …) / n: each input gets dy / n."""
    return (op.Mul(dy, 1 / len(parts)) if len(parts) > 1 else dy,) * len(parts)


@rule("Where", broadcast=True, along=pointwise_axes)
def where(op: Emitter, node: ir.Node, dy: V, condition: V, a: V, b: V) -> Gradients:
    """y = a where the condition holds, else b: da = dy there, db = dy elsewhere."""
    return None, lambda: op.mask(dy, condition), lambda: op.mask(dy, op.Not(condition))


@rule("Identity", sparse=True, along=pointwise_axes)
def identity(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x: dx = dy."""
    return (dy,)


@rule("Cast", "CastLike", along=pointwise_axes)
def cast(op: Emitter, node: ir.Node, dy: V, x: V, like: V | None = None) -> Gradients:
    """y = x in another dtype: dx = dy in the dtype of x, float32 for integers; no gradient if y are integers."""
    return cast_to(op, dy, x) if _floating(node.outputs[0]) else None, None


@rule("Dropout", sparse=True)
def dropout(op: Emitter, node: ir.Node, dy: V, x: V, ratio: V | None = None, training: V | None = None) -> Gradients:
    """At inference y = x: dx = dy."""
    if training is not None and not is_number(training, 0):
        raise training_mode(node)
    return dy, None, None


def training_mode(node: ir.Node) -> ModelError:
    """Return the error for a node in training mode."""
    return ModelError(
        f"node {node.name!r} ({node.op_type}) is in training mode, where its gradient "
        "depends on chance or on the batch; export the model in inference mode (PyTorch: model.eval())"
    )
