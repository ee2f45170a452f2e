"""Rule sets by name: the gradient, guided backpropagation, the deconvolutional network.

The last two change the gradient of rectifiers only. With ``f`` the forward input's sign and
``b`` the cotangent's: the gradient passes where ``f > 0``, the deconvnet where ``b > 0`` (Zeiler & Fergus, 1311.2901),
guided backpropagation where both hold (Springenberg et al., 1412.6806).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.rules.quantized import unrounded
from onnxcam.autodiff.table import Rule, RuleSet
from onnxcam.errors import MethodError, nearest
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.operators import Trait, operators

__all__ = ["DECONVNET", "GUIDED", "NAMED", "RECTIFIERS", "deconvnet", "guided", "past_rounding", "ruleset"]

RECTIFIERS = (*(("", name) for name in sorted(operators(Trait.RECTIFIES))), ("onnxcam", "Clamp"))
"""The ReLU of the papers. Clip is the ReLU6 of mobile networks; Clamp is the Clip of fused operators."""


def guided(op: Emitter, node: ir.Node, dy: ir.Value, *inputs: ir.Value | None) -> Any:
    """R_in = (f > 0) (R_out > 0) R_out: the operator's gradient of the positive part of the cotangent."""
    return STANDARD.find(node).function(op, node, op.Relu(dy), *inputs)


def deconvnet(op: Emitter, node: ir.Node, dy: ir.Value, *inputs: ir.Value | None) -> Any:
    """R_in = (R_out > 0) R_out, whatever the forward input."""
    return (op.Relu(dy), *[None] * (len(inputs) - 1))


def _rectified(name: str, function: Callable[..., Any]) -> RuleSet:
    rows = {key: STANDARD[key] or Rule(function) for key in RECTIFIERS}
    return STANDARD.replace(name, {key: replace(row, function=function) for key, row in rows.items()})


GUIDED = _rectified("guided", guided)
DECONVNET = _rectified("deconvnet", deconvnet)
NAMED = {rules.name: rules for rules in (STANDARD, GUIDED, DECONVNET)}


def past_rounding(rules: RuleSet, seeds: Iterable[ir.Value]) -> RuleSet:
    """Return *rules* with the gradient passing where the tensors *seeds* are rounded, behind the last product.

    Quantised scores are often clipped where the network is confident; the gradient of a clipped score is zero, and
    says nothing.
    """
    rounded, stack = set[ir.Node](), list(seeds)
    seen = set(stack)
    while stack:
        node = stack.pop().producer()
        if node is None or node.op_type in _PRODUCTS:
            continue
        if (node.domain, node.op_type) == _ROUNDS:
            rounded.add(node)
        stack += [x for x in node.inputs if x is not None and x not in seen]
        seen.update(x for x in node.inputs if x is not None)
    if not rounded:
        return rules
    row = rules.find(next(iter(rounded)))

    def passing(
        op: Emitter, node: ir.Node, dy: ir.Value, x: ir.Value, scale: ir.Value, *zero: ir.Value, **how: Any
    ) -> Any:
        if node in rounded:
            return unrounded(op, node, dy, x, scale), None, None
        return row.function(op, node, dy, x, scale, *zero, **how)

    return rules.replace(rules.name, {_ROUNDS: replace(row, function=passing)})


_ROUNDS = ("", "QuantizeLinear")
_PRODUCTS = operators(Trait.MULTIPLIES) | {"QLinearConv", "QLinearMatMul", "QGemm"}


def ruleset(rules: str | RuleSet) -> RuleSet:
    """Return the rule set called *rules*, or *rules* itself; MethodError for an unknown name."""
    if isinstance(rules, RuleSet):
        return rules
    if rules not in NAMED:
        known = ", ".join(NAMED)
        raise MethodError(f"no rule set is called {rules!r}; there are {known}.{nearest(rules, NAMED)}")
    return NAMED[rules]
