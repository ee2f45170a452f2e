"""Rules by composition, for operators that combine several others.

``@composed("FusedConv")`` registers a function that emits the operator's forward pass in standard operators. The driver
differentiates these. The node itself stays: its outputs replace those of the composition, and unused nodes of the
composition are never placed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.table import COMPOSITIONS, V, rule
from onnxcam.errors import MissingRuleError
from onnxcam.graph.compositions import Forward
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype, rank
from onnxcam.graph.subgraph import bodies, captured

WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
"""The attributes of convolutions and pools."""


def composed(*operators: str, domain: str = "com.microsoft") -> Callable[[Forward], Forward]:
    """Register the decorated function as the composition of *operators*."""

    def enter(forward: Forward) -> Forward:
        for operator in operators:
            COMPOSITIONS[domain, operator] = forward
        rule(*operators, domain=domain, many=True, sparse=True, inner=True)(_through)
        return forward

    return enter


def _through(
    op: Emitter, node: ir.Node, dys: list[Any], *inputs: V | None, scope: core.Scope
) -> Iterable[tuple[V | None, Any]]:
    """Differentiate the composition of *node*."""
    nodes, ys = COMPOSITIONS.compose(op, node)
    used = dict.fromkeys((*inputs, *captured(*bodies(node))))
    wanted = [x for x in used if x is not None and x in scope.active]
    for own, y, dy in zip(node.outputs, ys, dys, strict=True):
        if y is None and dy is not None:
            raise unsupported(node, f"a gradient of its output {own.name!r}: the rule does not return that output")
    seeds = [(y, dy) for y, dy in zip(ys, dys, strict=True) if y is not None]
    pairs = [(y, own) for y, own in zip(ys, node.outputs, strict=True) if y is not None and own.name]
    known = [(y, own if own.dtype == y.dtype else op.Cast(own, to=int(gradient_dtype(y)))) for y, own in pairs]
    gradients = scope.backward(op, nodes, seeds, wanted)
    for y, own in known:
        if y.producer() in nodes:
            y.replace_all_uses_with(own)
    return zip(wanted, gradients, strict=True)


def copied(node: ir.Node, *names: str) -> dict[str, Any]:
    """Return the attributes *names* of *node*, as far as it has them, for the emitter."""
    values = {name: node.attributes[name].value for name in names if name in node.attributes}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items() if v not in ((), [])}


def channels_first(op: Emitter, x: V, last: int = 1) -> V:
    """Return *x* with its channels at axis 1; they are at the last axis if *last*."""
    return op.Transpose(x, perm=[0, rank(x) - 1, *range(1, rank(x) - 1)]) if last else x


def channels_back(op: Emitter, y: V, dims: int, last: int = 1) -> V:
    """Return *y*, of rank *dims* with channels at axis 1, with its channels last if *last*."""
    return op.Transpose(y, perm=[0, *range(2, dims), 1]) if last else y


def length(x: V, axis: int) -> int:
    """Return the length of *x* along *axis*; MissingRuleError if it is unknown before the model runs."""
    known = None if x.shape is None else x.shape[axis]
    if not isinstance(known, int):
        raise unsupported(x.producer() or x.consumers()[0], f"an unknown length of {x.name!r} along axis {axis}")
    return known


def unsupported(node: ir.Node, what: str) -> MissingRuleError:
    """Return the error that *node* has no gradient rule for *what*."""
    return MissingRuleError(f"node {node.name!r} ({node.domain}::{node.op_type}) has no gradient rule with {what}")
