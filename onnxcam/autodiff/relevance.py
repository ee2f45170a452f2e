"""Rule sets that propagate relevance instead of gradients: layer-wise relevance propagation, excitation backprop.

The cotangent R_y of a tensor is the relevance of its entries: their shares of the score. A rule distributes R_y among
the inputs; operators that only move elements move it like a gradient. Operators without a definition in these papers
(a product of two activations, a normalisation by statistics of its input) raise MethodError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.cotangents import full_like
from onnxcam.autodiff.linear_layer import LinearLayer, negative_part, positive_part
from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.rules.arithmetic import cast_to
from onnxcam.autodiff.rules.compose import copied
from onnxcam.autodiff.table import COMPOSITIONS, Rule, RuleSet, V
from onnxcam.errors import MethodError
from onnxcam.graph.compositions import Key
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype
from onnxcam.graph.operators import Trait, operators

Shares: TypeAlias = Iterable[tuple[V | None, Any]]  # an input, and its relevance

MOVES = operators(Trait.MOVES)
"""Operators that move elements: relevance moves back with them."""

WINNERS = operators(Trait.SELECTS) | {"Max", "Min"}
"""Operators that select elements: the selected element gets all relevance."""

ACTIVATIONS = operators(Trait.ACTIVATES | Trait.QUANTISES) | {"LRN"}
"""Operators on each neuron by itself (LRN scales it): the neuron keeps its relevance."""

PRODUCTS = operators(Trait.MULTIPLIES)
"""Products of an activation and weights."""

SUMS = operators(Trait.AVERAGES) | {"Add", "Sum", "Mean", "Resize"}
"""Weighted sums without parameters."""

GATES = operators(Trait.GATES)
"""Operators that compute a gate: a factor in squeeze-and-excitation blocks and in activations such as x sigmoid(x)."""

_SCALING = operators(Trait.MOVES | Trait.ARITHMETIC | Trait.QUANTISES) | {"DynamicQuantizeLinear"}


class RelevanceRules(RuleSet):
    """A closed table: operators without a rule raise MethodError."""

    def find(self, node: ir.Node) -> Rule:
        """Return the rule for *node*; MethodError if there is none."""
        row = self.get((node.domain, node.op_type))
        if row is None:
            raise refusal(self.name, node)
        return row


INSTEAD = {"deeplift": "integrated-gradients"}
"""The methods to suggest in place of a rule set, if other than the default."""


def refusal(name: str, node: ir.Node, why: str = "") -> MethodError:
    """Return the error that rule set *name* is not defined for *node*."""
    return MethodError(
        f"{name} is not defined for {node.op_type} (node {node.name!r}, output {node.outputs[0].name!r})"
        f"{why and f', {why}'}; use --method {INSTEAD.get(name, 'gradcam or gradient')}"
    )


def keep(op: Emitter, node: ir.Node, r: V, x: V, *others: V | None, scope: core.Scope) -> Shares:
    """R_x = R_y."""
    return [(x, cast_to(op, r, x))]


def proportional(op: Emitter, node: ir.Node, r: V, *xs: V | None, scope: core.Scope) -> Shares:
    """R_x = x ⊙ Wᵀ(R_y / (y + ε sign y)) for y = Σ W x + b: LRP-ε (Bach et al., 2015). The share of b is lost."""
    layer_input(node, xs, scope)  # refuses a product of activations
    shares = stabilised_ratio(op, r, node.outputs[0])
    gradients = STANDARD.find(node).function(op, node, shares, *xs)
    return [(x, lambda x=x, g=g: _times(op, x, g)) for x, g in zip(xs, gradients, strict=False) if x in scope.active]


def excited(op: Emitter, node: ir.Node, r: V, *xs: V | None, scope: core.Scope) -> Shares:
    """R_x = x⁺ ⊙ Wᵀ(R_y / Σ W x⁺) for sums with W ≥ 0: each summand in proportion to its activation."""
    if sum(x in scope.active for x in xs) == 1 and len(xs) > 1 and node.op_type in ("Add", "Sum"):
        return [(x, r) for x in xs]  # a bias gets no relevance
    parts = [positive_part(op, x) if x in scope.active and x is not None else x for x in xs]
    z = op.emit(node.op_type, parts, attributes=copied(node, *node.attributes))
    gradients = STANDARD.find(node).function(op, node, stabilised_ratio(op, r, z), *xs)
    return [(x, lambda p=p, g=g: _times(op, p, g)) for x, p, g in zip(xs, parts, gradients, strict=False)]


def product(op: Emitter, node: ir.Node, r: V, a: V, b: V, *, scope: core.Scope) -> Shares:
    """R_x = R_y for y = x b; if b is an activation too, the signal gets all and the gate nothing."""
    varying = [x for x in (a, b) if x in scope.active]
    signals = varying if len(varying) == 1 else [x for x in varying if not is_gate(x, scope)]
    if len(signals) != 1 or (node.op_type == "Div" and b in varying):
        raise refusal(scope.rules.name, node, "a product of two activations of which neither is a gate")
    return [(signals[0], r)]


def is_gate(x: V, scope: core.Scope) -> bool:
    """Whether *x* is a squashed activation, scaled or moved. Clip(x + constant) counts, as part of a hard sigmoid."""
    node = x.producer()
    while node is not None and node.op_type not in GATES:
        varying = [i for i in node.inputs if i in scope.active]
        if len(varying) != 1 or varying[0] is None:
            return False
        before = varying[0].producer()
        if node.op_type == "Clip":
            return before is not None and before.op_type == "Add" and sum(i in scope.active for i in before.inputs) == 1
        if node.op_type not in _SCALING:
            return False
        node = before
    return node is not None


def layer_input(node: ir.Node, xs: Sequence[V | None], scope: core.Scope) -> int:
    """Return the index of the activation among the inputs of a product; MethodError if both are activations."""
    varying = [i for i, x in enumerate(xs) if x in scope.active]
    if node.op_type in PRODUCTS and varying not in ([0], [1]):
        raise refusal(scope.rules.name, node, "a product of two activations")
    return varying[0]


def z_plus(op: Emitter, node: ir.Node, r: V, *xs: V | None, scope: core.Scope) -> Shares:
    """R_x = Σ (x w)⁺ c with c = R_y / (Σ (x w)⁺ + b⁺): positive contributions (Bach et al., 2015: α = 1, β = 0)."""
    layer = LinearLayer.of(op, node, xs, layer_input(node, xs, scope))
    up, down = op.Relu(layer.w), negative_part(op, layer.w)
    z = layer.signed_forward(up, down, None if layer.b is None else op.Relu(layer.b))
    return [(layer.x, layer.signed_back(stabilised_ratio(op, r, z), up, down))]


def gamma(op: Emitter, node: ir.Node, r: V, *xs: V | None, scope: core.Scope, strength: float = 0.25) -> Shares:
    """R_x = Σ (x w + γ (x w)⁺) c with c = R_y / (y + γ Σ (x w)⁺), and the same with (x w)⁻ where y < 0.

    Montavon et al., 2019; for activations of both signs Andéol et al., 2021.
    """
    layer = LinearLayer.of(op, node, xs, layer_input(node, xs, scope))
    y = layer.y
    up = op.Add(layer.w, op.Mul(op.Relu(layer.w), strength))
    down = op.Add(layer.w, op.Mul(negative_part(op, layer.w), strength))
    total = None
    for sign, above, below in ((1, up, down), (-1, down, up)):
        part = positive_part if sign > 0 else negative_part
        b = None if layer.b is None else op.Add(layer.b, op.Mul(part(op, layer.b), strength))
        z = layer.signed_forward(above, below, b)
        chosen = op.Greater(y, 0.0) if sign > 0 else op.Less(y, 0.0)
        share = layer.signed_back(op.mask(stabilised_ratio(op, r, z), chosen), above, below)
        total = share if total is None else op.Add(total, share)
        if all(user.op_type == "Relu" for user in y.consumers()) and y.consumers():
            break  # negative numbers become zero, without relevance
    return [(layer.x, total)]


def flat(op: Emitter, node: ir.Node, r: V, *xs: V | None, scope: core.Scope) -> Shares:
    """R_x = Σ R_y / n: equal shares for the n inputs of y (Lapuschkin et al., 2019)."""
    layer = LinearLayer.of(op, node, xs, layer_input(node, xs, scope))
    ones = full_like(op, layer.w, 1.0)
    count = layer.forward(full_like(op, layer.x, 1.0), ones)
    return [(layer.x, layer.back(stabilised_ratio(op, r, count), ones))]


def excite(op: Emitter, node: ir.Node, r: V, *xs: V | None, scope: core.Scope) -> Shares:
    """P_x = x⁺ ⊙ w⁺ᵀ(P_y / Σ w⁺ x⁺): probability flows to excitatory inputs (Zhang et al., 1608.00507)."""
    layer = LinearLayer.of(op, node, xs, layer_input(node, xs, scope))
    x, up = positive_part(op, layer.x), op.Relu(layer.w)
    return [(layer.x, op.Mul(x, layer.back(stabilised_ratio(op, r, layer.forward(x, up)), up)))]


def composition(op: Emitter, node: ir.Node, rs: list[Any], *xs: V | None, scope: core.Scope) -> Shares:
    """Propagate relevance through the composition of *node*."""
    try:
        return list(STANDARD.find(node).function(op, node, rs, *xs, scope=scope))
    except MethodError as error:
        raise refusal(scope.rules.name, node) from error


def stabilised_ratio(op: Emitter, r: V, z: V) -> V:
    """Return R / (z + ε sign z), ε the machine epsilon of the dtype (1e-7 in float32): 0 for R = 0, even at z = 0."""
    dtype = gradient_dtype(z)
    epsilon = float(np.finfo(dtype.numpy()).eps)
    away = op.Where(op.Less(z, 0.0), op.const(-epsilon, dtype), op.const(epsilon, dtype))
    share = op.Div(r, op.Add(z, away))
    share.shape = r.shape
    return share


def _times(op: Emitter, x: V, gradient: Any) -> V:
    g = gradient() if callable(gradient) else gradient
    return op.Mul(x, g.value if isinstance(g, core.Repeated) else g)


def is_first(node: ir.Node, scope: core.Scope) -> bool:
    """Whether *node* is the first layer after the image."""
    stack = [x for x in node.inputs if x in scope.active]
    while stack:
        before = stack.pop()
        maker = None if before is None else before.producer()
        if maker is None:
            continue
        if maker.op_type not in _SCALING:
            return False
        stack += [x for x in maker.inputs if x in scope.active]
    return True


def convolutions(first: Callable[..., Shares], others: Callable[..., Shares]) -> dict[str, Callable[..., Shares]]:
    """Return the rows of a composite: rule *first* for the convolution of the image, *others* for later ones."""

    def layer(op: Emitter, node: ir.Node, r: V, *xs: V | None, scope: core.Scope) -> Shares:
        return (first if is_first(node, scope) else others)(op, node, r, *xs, scope=scope)

    return {"Conv": layer, "ConvTranspose": layer}


def relevance_rules(name: str, rows: dict[str, Callable[..., Shares]]) -> RelevanceRules:
    """Return the rule set called *name*: LRP-ε with *rows* replaced."""
    table: dict[Key, Rule | None] = {key: row for key, row in STANDARD.items() if row is None}
    table.update({("", key): STANDARD["", key] for key in MOVES | WINNERS})
    table.update({key: STANDARD[key] for key in STANDARD if key[1] in operators(Trait.REORDERS)})
    table.update({key: Rule(composition, many=True, inner=True) for key in COMPOSITIONS})
    functions: dict[str, Callable[..., Shares]] = dict.fromkeys(ACTIVATIONS, keep)
    functions |= dict.fromkeys(PRODUCTS | SUMS | {"Sub", "BatchNormalization"}, proportional)
    functions |= {"Mul": product, "Div": product, "Neg": keep}
    for key, function in (functions | rows).items():
        own = STANDARD["", key]
        table["", key] = Rule(function, inner=True, broadcast=own is not None and own.broadcast)
    table["onnxcam", "Clamp"] = Rule(keep, inner=True)
    return RelevanceRules(name, table)


LRP = relevance_rules("lrp", convolutions(first=flat, others=z_plus))
LRP_EPSILON = relevance_rules("lrp-epsilon", {})
LRP_GAMMA = relevance_rules("lrp-gamma", convolutions(first=flat, others=gamma))
EXCITATION = relevance_rules(
    "excitation-backprop",
    {**dict.fromkeys(PRODUCTS, excite), **dict.fromkeys(SUMS, excited), "Sub": keep, "BatchNormalization": keep},
)
