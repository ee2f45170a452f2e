"""AttnLRP as a rule set: relevance through transformers, carried as a gradient.

The cotangent of a tensor x is c = R / x, its relevance per unit, so that R = x ⊙ c. The rule of a linear operator is
LRP-ε with ε → 0, which is then its gradient. So is the rule of softmax, which the paper expands at its input:
R_x = x ⊙ (R − y Σ R). What differs are the rows of this table (Achtibat et al., AttnLRP, ICML 2024, 2402.05602):

- a product of two activations (A V, Q Kᵀ, a gated unit) gives each factor half: the uniform rule, equation 7;
- a function of one number keeps its relevance, c_x = c_y y / x: the identity rule, equation 9;
- a normalisation is linear, its σ a constant: proposition 3.4.

Any other operator has its Taylor expansion at x: its gradient. What biases add is lost, and so is the constant term of
an expansion, such as that of softmax. At layers with weights LRP-γ and the flat rule of `relevance` are settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.integer_layer import IntegerLayer
from onnxcam.autodiff.linear_layer import LinearLayer
from onnxcam.autodiff.relevance import Shares, flat, gamma, is_first, is_gate, layer_input, stabilised_ratio
from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.rules.activation import DIVISORS, SLOPES
from onnxcam.autodiff.rules.normalization import channelwise, grouped, standardise, trailing
from onnxcam.autodiff.slices import NodeSlice
from onnxcam.autodiff.table import Rule, RuleSet, V
from onnxcam.graph.compositions import Key
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.infer import gradient_dtype
from onnxcam.graph.operators import Trait, operators

NAME = "attnlrp"

PRODUCTS = ("Mul", "MatMul", "Einsum")
"""Products of which several factors may be activations."""

LINES = operators(Trait.RECTIFIES) - {"Clip"} | {"Abs"}
"""Activations of straight lines through zero: their gradient is y / x."""

FUNCTIONS = (operators(Trait.ACTIVATES) | {"Pow", *SLOPES, *DIVISORS}) - LINES
"""Functions of each element by itself."""

DENSE = ("Gemm", "MatMul")

_POINTWISE = operators(Trait.ACTIVATES | Trait.ARITHMETIC | Trait.COPIES) | {"Neg", "Pow", *SLOPES, *DIVISORS}
_KEEPS = operators(Trait.MOVES | Trait.ARITHMETIC)


_RuleRows: TypeAlias = dict[str | Key, Callable[..., Any] | Rule | None]
CotangentPairs: TypeAlias = Iterable[tuple[V | None, Any]]  # an input, and its cotangent


def product(op: Emitter, node: ir.Node, dy: Any, *xs: V | None, scope: core.Scope) -> CotangentPairs:
    """y = a b: c_a = c_y b / 2, c_b = c_y a / 2; a constant, a gate of the other factor and 1 / σ get none."""
    original = node.node if isinstance(node, NodeSlice) else node
    varying = [x for x in original.inputs if x in scope.active and x is not None]
    factors = [x for x in varying if not _is_norm(x, scope)] or varying
    if len(factors) == 2:
        factors = [x for x, other in (factors, factors[::-1]) if not _is_own_gate(x, other, scope)] or factors
    if len(factors) > 1:
        dy = op.Mul(core.dense(op, dy, node.outputs[0]), 1 / len(factors))
    gradients = STANDARD.find(node).function(op, node, dy, *xs)
    return [(x, g if own in factors else None) for own, x, g in zip(original.inputs, xs, gradients, strict=False)]


def quotient(op: Emitter, node: ir.Node, dy: V, a: V, b: V, *, scope: core.Scope) -> CotangentPairs:
    """y = a / b with b constant: c_a = c_y / b. If b alone is an activation, the identity rule."""
    original = node.node if isinstance(node, NodeSlice) else node
    if original.inputs[0] in scope.active:
        return [(a, op.Div(dy, b)), (b, None)]
    return [(a, None), (b, _kept(op, dy, node.outputs[0], b))]


def function(op: Emitter, node: ir.Node, dy: V, x: V, *others: V | None) -> tuple[Any, ...]:
    """y = f(x): c_x = c_y y / x."""
    share = SHARES.get(node.op_type)
    dx = _kept(op, dy, node.outputs[0], x) if share is None else op.Mul(dy, share(op, node, x))
    return dx, *[None] * len(others)


def _kept(op: Emitter, dy: V, y: V, x: V) -> V:
    return _per_unit(op, op.Mul(dy, y), x)


def _per_unit(op: Emitter, r: V, x: V) -> V:
    """Return c = R / (x + ε sign x); 0 where x = 0, of which no c is the relevance.

    ε / sign x is infinite there. A large c would reach the tensor before a quantiser, which is not 0.
    """
    dtype = gradient_dtype(x)
    epsilon = op.const(float(np.finfo(dtype.numpy()).eps), dtype)
    c = op.Div(r, op.Add(x, op.Div(epsilon, op.Sign(x))))
    c.shape = r.shape
    return c


def _gelu_share(op: Emitter, node: ir.Node, x: V) -> V:
    if node.attributes.get_string("approximate", "none") == "tanh":
        a = math.sqrt(8 / math.pi)
        return op.Sigmoid(op.Mul(x, op.Add(op.Mul(op.Mul(x, x), 0.044715 * a), a)))
    return op.HardSigmoid(op.Erf(op.Mul(x, math.sqrt(0.5))), alpha=0.5, beta=0.5)


def _swish_share(op: Emitter, node: ir.Node, x: V) -> V:
    alpha = node.attributes.get_float("alpha", 1.0)
    return op.Sigmoid(x if alpha == 1 else op.Mul(x, float(alpha)))


SHARES: dict[str, Callable[[Emitter, ir.Node, V], V]] = {
    "Gelu": _gelu_share,
    "Swish": _swish_share,
    "HardSwish": lambda op, node, x: op.HardSigmoid(x, alpha=1 / 6, beta=0.5),
    "Mish": lambda op, node, x: op.Tanh(op.Softplus(x)),
}
"""y / x of activations x f(x), which needs no division."""


def layer_normalization(
    op: Emitter, node: ir.Node, dys: Sequence[V | None], x: V, scale: V, b: V | None = None
) -> tuple[Any, ...]:
    """y = scale (x − μ) / σ + b: c_x = (g − mean g) / σ with g = c_y scale."""
    dy, *statistics = dys
    axis, epsilon = node.attributes.get_int("axis", -1), node.attributes.get_float("epsilon", 1e-5)
    dx = None
    if dy is not None:
        _, inv = standardise(op, x, op.Shape(x, start=axis), axis, epsilon)
        dx = op.Mul(inv, _centred(op, op.Mul(dy, scale), trailing(op, x, axis)))
    if statistics and statistics[0] is not None:  # of μ; σ is a constant
        share = STANDARD.find(node).function(op, node, [None, statistics[0], None], x, scale, b)[0]
        dx = share if dx is None else op.Add(dx, share)
    return dx, None, None


def rms_normalization(op: Emitter, node: ir.Node, dy: V, x: V, scale: V) -> tuple[Any, ...]:
    """y = scale x / r: c_x = c_y scale / r."""
    over = trailing(op, x, node.attributes.get_int("axis", -1))
    square = op.Add(op.ReduceMean(op.Mul(x, x), over), node.attributes.get_float("epsilon", 1e-5))
    return op.Div(op.Mul(dy, scale), op.Sqrt(square)), None


def instance_normalization(op: Emitter, node: ir.Node, dy: V, x: V, scale: V, b: V) -> tuple[Any, ...]:
    """As `layer_normalization` over the spatial axes of each channel."""
    _, inv = standardise(op, x, op.Shape(x, start=2), 2, node.attributes.get_float("epsilon", 1e-5))
    return op.Mul(inv, _centred(op, op.Mul(dy, channelwise(op, scale, x)), op.axes(x, 2))), None, None


def group_normalization(op: Emitter, node: ir.Node, dy: V, x: V, scale: V, b: V) -> tuple[Any, ...]:
    """As `layer_normalization` over the channels of a group together."""
    fold, _, inv = grouped(op, node, x)
    g = op.Reshape(op.Mul(dy, channelwise(op, scale, x)), fold)
    return op.Reshape(op.Mul(inv, _centred(op, g, [-1])), op.Shape(x)), None, None


def scaled(op: Emitter, node: ir.Node, dy: V, x: V) -> tuple[Any, ...]:
    """y = x / ‖x‖: c_x = c_y / ‖x‖."""
    axes = [node.attributes.get_int("axis", -1)]
    norm = op.ReduceL1(x, axes) if node.attributes.get_int("p", 2) == 1 else op.ReduceL2(x, axes)
    return (stabilised_ratio(op, dy, norm),)


def _centred(op: Emitter, g: V, axes: Any) -> V:
    return op.Sub(g, op.ReduceMean(g, axes))


def spread(by: Callable[..., Shares]) -> Callable[..., CotangentPairs]:
    """Return the rule that distributes R_y = y c_y by *by*, a rule of `relevance`, and returns c_x = R_x / x.

    The bias of a dense layer takes its own share b c_y first, as where it is an Add of its own; that of a convolution
    belongs to the layer.
    """

    def rule(op: Emitter, node: ir.Node, dy: Any, *xs: V | None, scope: core.Scope) -> CotangentPairs:
        if sum(x in scope.active for x in xs) != 1 or not any(x in scope.active for x in xs[:2]):
            return product(op, node, dy, *xs, scope=scope)  # weights that are activations too
        operands = xs[:2] if node.op_type in DENSE else xs
        y = LinearLayer.of(op, node, operands, layer_input(node, xs, scope)).y
        r = op.Mul(core.dense(op, dy, node.outputs[0]), y)
        r.shape = y.shape
        ((x, share),) = by(op, node, r, *operands, scope=scope)
        assert x is not None
        return [(x, _per_unit(op, share, x))]

    return rule


def _is_norm(x: V, scope: core.Scope) -> bool:
    """Whether *x* is 1 / σ, scaled: the reciprocal of an activation."""
    node = x.producer()
    while node is not None:
        if node.op_type == "Reciprocal" or (node.op_type == "Div" and node.inputs[0] not in scope.active):
            return True
        if node.op_type == "Pow":
            exponent = constant(node.inputs[1])
            return exponent is not None and bool((exponent < 0).all())
        varying = [i for i in node.inputs if i in scope.active]
        if node.op_type not in _KEEPS or len(varying) != 1 or varying[0] is None:
            return False
        node = varying[0].producer()
    return False


def _is_own_gate(gate: V, x: V, scope: core.Scope) -> bool:
    """Whether *gate* is a squashed function of the numbers of *x*, element by element, as in x sigmoid(x)."""
    if not is_gate(gate, scope):
        return False
    sources, stack = {x}, [gate]
    node = x.producer()
    while node is not None and node.op_type in _POINTWISE:
        varying = [i for i in node.inputs if i in scope.active]
        if len(varying) != 1 or varying[0] is None:
            break
        sources.add(varying[0])
        node = varying[0].producer()
    while stack:
        value = stack.pop()
        if value in sources:
            continue
        made = value.producer()
        if made is None or made.op_type not in _POINTWISE:
            return False
        stack += [i for i in made.inputs if i in scope.active and i is not None]
    return True


def _like(name: str, function: Any) -> Rule:
    """Return the row of *name* with *function*."""
    own = STANDARD["", name]
    assert own is not None
    return Rule(function, own.broadcast, own.many, own.sparse, function in (product, quotient), own.along)


_ROWS: _RuleRows = {
    name: _like(name, function)
    for name, function in {
        **dict.fromkeys(FUNCTIONS, function),
        "LayerNormalization": layer_normalization,
        "RMSNormalization": rms_normalization,
        "InstanceNormalization": instance_normalization,
        "GroupNormalization": group_normalization,
        "LpNormalization": scaled,
        **dict.fromkeys(PRODUCTS, product),
        "Div": quotient,
    }.items()
}
_ROWS["onnxcam", "Clamp"] = Rule(function)
_SUM = _like("Add", None)


def attnlrp_rules(first: str, strength: float, dense: float) -> RuleSet:
    """Return the rule set with *first* at the convolution of the image: ``flat``, ``gamma`` or ``epsilon``.

    *strength* is the γ of convolutions, *dense* that of dense layers; LRP-γ with γ = 0 is LRP-ε.
    """
    rules = {"epsilon": product, "flat": spread(flat), "gamma": _gamma(strength)}
    others = _gamma(strength)

    def convolution(op: Emitter, node: ir.Node, dy: Any, *xs: V | None, scope: core.Scope) -> CotangentPairs:
        return rule_of(node, scope)(op, node, dy, *xs, scope=scope)

    def rule_of(node: ir.Node, scope: core.Scope) -> Callable[..., CotangentPairs]:
        return rules[first] if is_first(node, scope) else others

    def sum_or_bias(op: Emitter, node: ir.Node, dy: Any, *xs: V | None, scope: core.Scope) -> CotangentPairs:
        layer = IntegerLayer.behind(node, scope) if isinstance(node, ir.Node) else None
        if layer is None:
            return [(x, x and partial(core.evaluated, op, _SUM, dy, x, node.outputs[0])) for x in xs]
        conv, k = layer.emit(op)
        x, y = conv.inputs[0], node.outputs[0]
        assert x is not None
        known, c = op.Div(y, k), op.Mul(core.dense(op, dy, y), k)
        inside = core.Scope(scope.active | {x}, scope.rules)
        found = dict(rule_of(layer.node, scope)(op, conv, c, *conv.inputs, scope=inside))
        conv.outputs[0].replace_all_uses_with(known)
        return [(layer.node.inputs[0], found[x])]

    rows: _RuleRows = dict.fromkeys(("Conv", "ConvTranspose"), Rule(convolution, inner=True))
    rows["Add"] = Rule(sum_or_bias, sparse=True, inner=True, along=_SUM.along)
    if dense:
        rows |= dict.fromkeys(DENSE, Rule(_gamma(dense), inner=True))
    return STANDARD.replace(NAME, {**_ROWS, **rows})


def _gamma(strength: float) -> Callable[..., CotangentPairs]:
    return spread(partial(gamma, strength=strength)) if strength else product
