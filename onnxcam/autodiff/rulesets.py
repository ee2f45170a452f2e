"""Rule sets by name: the gradient, guided backpropagation, the deconvolutional network.

The last two change the gradient of rectifiers only. With ``f`` the forward input's sign and
``b`` the cotangent's: the gradient passes where ``f > 0``, the deconvnet where ``b > 0`` (Zeiler & Fergus, 1311.2901),
guided backpropagation where both hold (Springenberg et al., 1412.6806).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.table import Rule, RuleSet
from onnxcam.errors import MethodError, nearest
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.operators import Trait, operators

__all__ = ["DECONVNET", "GUIDED", "NAMED", "RECTIFIERS", "deconvnet", "guided", "ruleset"]

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


def ruleset(rules: str | RuleSet) -> RuleSet:
    """Return the rule set called *rules*, or *rules* itself; MethodError for an unknown name."""
    if isinstance(rules, RuleSet):
        return rules
    if rules not in NAMED:
        known = ", ".join(NAMED)
        raise MethodError(f"no rule set is called {rules!r}; there are {known}.{nearest(rules, NAMED)}")
    return NAMED[rules]
