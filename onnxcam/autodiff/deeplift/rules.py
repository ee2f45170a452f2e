"""DeepLIFT's rescale rule as a rule set: differences from a reference in place of derivatives.

The cotangent m_y of a tensor is a multiplier: Σ m_y Δy is the difference of the score from that of the reference, with
Δy = y − y₀ and y₀ the tensor for the reference image. Rules preserve this sum: Σ m_x Δx = Σ m_y Δy.

The multiplier of a linear operator is its gradient; that of a function of one tensor is Δy / Δx (the rescale rule,
Shrikumar et al., 1704.02685). The paper defines no others. A product uses the gradient at the midpoint of input and
reference, Δ(a b) = b̄ Δa + ā Δb, the Shapley value. Normalisations are composed of products, softmax of exponentials and
a logarithm. A maximum assigns its difference to its position in the image, or in the reference if that is larger, as
shap and captum do. Where with a condition that varies is defined only as part of a function of one number.

An operator without a rule raises MethodError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.deeplift.reference import ReferenceRules, rules_of
from onnxcam.autodiff.relevance import MOVES, SUMS, composition, refusal
from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.rules.activation import DIVISORS, SLOPES
from onnxcam.autodiff.rules.arithmetic import cast_to
from onnxcam.autodiff.rules.compose import copied
from onnxcam.autodiff.table import COMPOSITIONS, Rule, V
from onnxcam.graph.compositions import Key
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype, infer_nodes
from onnxcam.graph.operators import Trait, operators

Multipliers: TypeAlias = Iterable[tuple[V | None, Any]]  # an input, and its multiplier

NAME = "deeplift"
# DequantizeLinear is linear; QuantizeLinear rounds.
FUNCTIONS = operators(Trait.ACTIVATES) | {"Pow", "QuantizeLinear", *SLOPES, *DIVISORS}
"""Functions of each element of one input; other inputs are parameters."""

POINTWISE = FUNCTIONS | operators(Trait.ARITHMETIC | Trait.COMPARES | Trait.LOGIC)
POINTWISE |= {"Neg", "Where", "Cast", "Max", "Min"}
"""Operators whose output elements depend on input elements at the same position only."""

PRODUCTS = operators(Trait.MULTIPLIES) | {"Mul", "Einsum"}
"""Operators that are linear in each of two inputs."""

LINEAR = PRODUCTS | MOVES | SUMS
LINEAR |= {"Sub", "Neg", "CumSum", "BatchNormalization", "DequantizeLinear", "ScatterElements"}
WINNERS = operators(Trait.SELECTS)  # Max and Min of several tensors have a rule of their own, `larger`


def differences(op: Emitter, scope: core.Scope, x: V) -> V:
    """Return Δx = x − x₀ in a floating dtype."""
    d = op.Sub(_floats(op, x), _floats(op, rules_of(scope).reference_of(x)))
    d.shape, d.type = x.shape, ir.TensorType(gradient_dtype(x))
    return d


def _floats(op: Emitter, x: V) -> V:
    return x if x.dtype is None or x.dtype.is_floating_point() else op.Cast(x, to=int(ir.DataType.FLOAT))


def quotient(op: Emitter, dy: V, above: V, below: V, otherwise: V) -> V:
    """Return dy ⊙ above / below, *otherwise* where below is about 0: (dy a b + ε² o) / (b² + ε²).

    ε is the machine epsilon, 1e-7 in float32. This form avoids Where, which is slow on ONNX Runtime.
    """
    square = float(np.finfo(gradient_dtype(below).numpy()).eps) ** 2
    product = op.Mul(op.Mul(cast_to(op, dy, below), above), below)
    share = op.Add(product, op.Mul(cast_to(op, otherwise, below), square))
    slope = op.Div(share, op.Add(op.Mul(below, below), square))
    slope.shape = below.shape
    return cast_to(op, slope, dy)


def active_inputs(node: ir.Node, xs: Iterable[V | None], scope: core.Scope) -> list[int]:
    """Return the indices of inputs that need multipliers; MethodError if another depends on the image by steps."""
    found = [at for at, x in enumerate(xs) if x in scope.active]
    for x in node.inputs:
        if x is not None and x not in scope.active and rules_of(scope).varies(x):
            raise refusal(NAME, node, f"whose input {x.name!r} depends on the image by steps")
    return found


def linear(op: Emitter, node: ir.Node, dy: Any, *xs: V | None, scope: core.Scope) -> Multipliers:
    """m_x = the gradient; for a product the gradient at the midpoints (x + x₀) / 2 of its varying inputs."""
    found = active_inputs(node, xs, scope)
    operands = list(xs)
    if len(found) > 1 and node.op_type in PRODUCTS:
        if len(found) > 2 or found[-1] > 1:
            raise refusal(NAME, node, "a product of more than two activations")
        operands = [midpoint(op, scope, x) if at in found and x is not None else x for at, x in enumerate(xs)]
    return list(zip(xs, STANDARD.find(node).function(op, node, dy, *operands), strict=False))


def midpoint(op: Emitter, scope: core.Scope, x: V) -> V:
    """Return (x + x₀) / 2."""
    middle = op.Mul(op.Add(x, rules_of(scope).reference_of(x)), 0.5)
    middle.shape, middle.type = x.shape, x.type
    return middle


def rescale(op: Emitter, node: ir.Node, dy: V, *xs: V | None, scope: core.Scope) -> Multipliers:
    """m_x = m_y Δy / Δx for y = f(x), element by element; the gradient where Δx is about 0."""
    found = active_inputs(node, xs, scope)
    if len(found) != 1:
        raise refusal(NAME, node, "with parameters that depend on the image")
    (at,) = found
    x = xs[at]
    assert x is not None

    def multiplier() -> V:
        gradient = STANDARD.find(node).function(op, node, dy, *xs)[at]
        gradient = gradient() if callable(gradient) else gradient
        above, below = (differences(op, scope, z) for z in (node.outputs[0], x))
        return quotient(op, dy, above, below, gradient)

    return [(x, multiplier)]


def larger(op: Emitter, node: ir.Node, dy: V, *xs: V | None, scope: core.Scope) -> Multipliers:
    """max(a, b) = a + f(b − a), f a rectifier: m_b = m_y (Δy − Δa) / (Δb − Δa), m_a = m_y − m_b; so for min."""
    found = active_inputs(node, xs, scope)
    if len(found) == 1:
        return rescale(op, node, dy, *xs, scope=scope)
    a, b = (*xs, None)[:2]
    if len(xs) != 2 or a is None or b is None:
        raise refusal(NAME, node, "the largest of more than two activations")
    d_y, d_a, d_b = (differences(op, scope, z) for z in (node.outputs[0], a, b))
    gradient = STANDARD.find(node).function(op, node, dy, *xs)[1]
    m_b = quotient(op, dy, op.Sub(d_y, d_a), op.Sub(d_b, d_a), gradient)
    return [(a, op.Sub(dy, m_b)), (b, m_b)]


def division(op: Emitter, node: ir.Node, dy: V, a: V, b: V, *, scope: core.Scope) -> Multipliers:
    """a / b = a r with r = 1 / b: m_a = m_y r̄, m_b = −m_y ā / (b b₀)."""
    found = active_inputs(node, (a, b), scope)
    if found == [0]:
        return linear(op, node, dy, a, b, scope=scope)
    b0 = rules_of(scope).reference_of(b)
    inverse = op.Mul(op.Add(op.Reciprocal(b), op.Reciprocal(b0)), 0.5)
    above = midpoint(op, scope, a) if 0 in found else a
    return [
        (a, lambda: op.Mul(dy, inverse)),
        (b, lambda: op.Neg(op.Div(op.Mul(dy, above), op.Mul(b, b0)))),
    ]


def choice(op: Emitter, node: ir.Node, dy: V, *xs: V | None, scope: core.Scope) -> Multipliers:
    """Where moves elements. If its condition varies, it must be part of a function of one tensor, as in `rescale`.

    Exporters write a softplus in this way: x > 20 ? x : log(1 + exp x).
    """
    if xs[0] is None or not rules_of(scope).varies(xs[0]):
        return linear(op, node, dy, *xs, scope=scope)
    x, y = one_source(op, node, scope), node.outputs[0]
    if x is None or x not in scope.active or x.shape is None or x.shape != y.shape:
        raise refusal(NAME, node, f"whose input {xs[0].name!r} depends on the image by steps")
    (gradient,) = core.backward(op, {y: dy}, [x], STANDARD)
    otherwise = dy if gradient is None else gradient
    return [(x, quotient(op, dy, differences(op, scope, y), differences(op, scope, x), otherwise))]


def one_source(op: Emitter, node: ir.Node, scope: core.Scope) -> V | None:
    """Return the one tensor of which *node* is a function, element by element; None if there is none."""
    place = {y: k for k, made in enumerate(op.graph) for y in made.outputs}
    before = {x for x in node.inputs if x is not None and rules_of(scope).varies(x)}
    while len(before) > 1:
        last = max(before, key=lambda x: place.get(x, -1))
        maker = last.producer()
        if maker is None or maker.op_type not in POINTWISE:
            return None
        before = before - {last} | {x for x in maker.inputs if x is not None and rules_of(scope).varies(x)}
    return next(iter(before), None)


def winner(op: Emitter, node: ir.Node, dy: Any, x: V, *rest: V | None, scope: core.Scope) -> Multipliers:
    """m_x Δx = m_y Δy at the position of the larger of y and y₀, in x or in x₀; for minima of the smaller."""
    active_inputs(node, (x, *rest), scope)
    dy = dy[0] if isinstance(dy, list) else dy
    x0 = rules_of(scope).reference_of(x)
    if not rules_of(scope).whole:
        x0 = op.Expand(x0, op.Shape(x))  # positions are indices into the whole batch
    x0.shape, x0.type = x.shape, x.type
    y, y0 = node.outputs[0], op.emit(node.op_type, [x0, *rest], attributes=copied(node, *node.attributes))
    y0.shape, y0.type = y.shape, y.type
    behind = op.Less(y0, y) if node.op_type == "ReduceMin" else op.Less(y, y0)
    here, there = op.flag(op.Not(behind), y), op.flag(behind, y)
    share = op.Mul(dy, op.Sub(y, y0))
    share.shape, share.type = y.shape, y.type
    shares = [
        STANDARD.find(made).function(op, made, op.Mul(share, where), z, *rest)[0]
        for made, z, where in ((node, x, here), (y0.producer(), x0, there))
    ]
    total, below = op.Add(*(core.dense(op, part, x) for part in shares)), differences(op, scope, x)
    return [(x, op.Div(total, op.Where(op.Equal(below, 0.0), 1.0, below)))]


def decomposed(forward: Callable[..., V]) -> Callable[..., Multipliers]:
    """Return the rule that differentiates the nodes of *forward* in place of the operator."""

    def rule(op: Emitter, node: ir.Node, dy: Any, x: V, *rest: V | None, scope: core.Scope) -> Multipliers:
        active_inputs(node, (x, *rest), scope)
        dy = dy[0] if isinstance(dy, list) else dy
        y = forward(op, node, scope, x, *rest)
        nodes = op.pending([x, *rules_of(scope).settled], [y])
        infer_nodes(nodes, op.opset)
        (dx,) = scope.backward(op, nodes, [(y, dy)], [x])
        return [(x, dx)]

    return rule


def softmax(op: Emitter, node: ir.Node, scope: core.Scope, x: V) -> V:
    """y = exp(u − log Σ exp u), u = x − c, c the mean of both maxima, so that no exponential overflows.

    The quotient e / Σ e would have large multipliers that cancel badly if x is far from x₀. In the logarithm of the sum
    each x has a share between 0 and 1.
    """
    axis = [node.attributes.get_int("axis", -1)]
    tops = [op.ReduceMax(z, axis, keepdims=1) for z in (x, rules_of(scope).reference_of(x))]
    c = op.Mul(op.Add(*tops), 0.5)
    rules_of(scope).settle(c)
    u = op.Sub(x, c)
    return op.Exp(op.Sub(u, op.Log(op.ReduceSum(op.Exp(u), axis, keepdims=1))))


def layer_normalization(op: Emitter, node: ir.Node, scope: core.Scope, x: V, scale: V, b: V | None = None) -> V:
    """y = scale x̂ + b over the trailing axes."""
    standard = _standardised(op, node, x, op.axes(x, node.attributes.get_int("axis", -1) % len(x.shape or [0])))
    y = op.Mul(standard, scale)
    return y if b is None else op.Add(y, b)


def instance_normalization(op: Emitter, node: ir.Node, scope: core.Scope, x: V, scale: V, b: V) -> V:
    """y = scale x̂ + b over the axes of space, one scale and b for each channel."""
    standard = _standardised(op, node, x, op.axes(x, 2))
    each = [op.Unsqueeze(v, op.axes(x, 1, -1)) for v in (scale, b)]
    return op.Add(op.Mul(standard, each[0]), each[1])


def norm(op: Emitter, node: ir.Node, scope: core.Scope, x: V, axes: V | None = None) -> V:
    """|x| = √Σ x², ReduceL2; ReduceSumSquare without the root."""
    attributes = {"keepdims": node.attributes.get_int("keepdims", 1)}
    attributes["noop_with_empty_axes"] = node.attributes.get_int("noop_with_empty_axes", 0)
    total = op.ReduceSum(op.Mul(x, x), axes, **attributes)
    return op.Sqrt(total) if node.op_type == "ReduceL2" else total


def _standardised(op: Emitter, node: ir.Node, x: V, axes: V) -> V:
    """Return x̂ = (x − μ) / √(var + ε)."""
    d = op.Sub(x, op.ReduceMean(x, axes, keepdims=1))
    var = op.ReduceMean(op.Mul(d, d), axes, keepdims=1)
    return op.Div(d, op.Sqrt(op.Add(var, node.attributes.get_float("epsilon", 1e-5))))


def _table() -> dict[Key, Rule | None]:
    table: dict[Key, Rule | None] = {key: row for key, row in STANDARD.items() if row is None}
    functions: dict[str, Callable[..., Multipliers]] = dict.fromkeys(LINEAR, linear) | dict.fromkeys(FUNCTIONS, rescale)
    functions |= dict.fromkeys(WINNERS, winner) | {"Max": larger, "Min": larger, "Div": division}
    functions |= {
        "Where": choice,
        "Softmax": decomposed(softmax),
        **dict.fromkeys(("ReduceL2", "ReduceSumSquare"), decomposed(norm)),
        "LayerNormalization": decomposed(layer_normalization),
        "InstanceNormalization": decomposed(instance_normalization),
    }
    for name, function in functions.items():
        own = STANDARD["", name]
        assert own is not None
        table["", name] = Rule(function, own.broadcast, own.many, own.sparse, inner=True)
    table.update({key: STANDARD[key] for key in STANDARD if key[1] in operators(Trait.REORDERS)})
    table.update({key: Rule(composition, many=True, inner=True) for key in COMPOSITIONS})
    table["onnxcam", "Clamp"] = Rule(rescale, inner=True)
    return table


TABLE = _table()


def rescale_rules(op: Emitter, image: V, baseline: float) -> ReferenceRules:
    """Return the rule set for the graph of *op*, with the reference image *baseline* everywhere."""
    return ReferenceRules(NAME, TABLE, op, image, baseline)
