"""Operators that stand for several others: rules by composition.

``@composed("FusedConv")`` enters a function that emits the operator's forward pass in standard operators. The driver
differentiates that. The node itself stays as it is: its outputs serve in place of those of the composition, and what
of this nobody reads is never placed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.rules import Key, V, rule
from onnxcam.errors import MissingRuleError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import infer_nodes, rank
from onnxcam.graph.subgraph import bodies, captured, used_values

Forward: TypeAlias = Callable[..., Any]  # (op, node, *inputs) -> a value, or a tuple with one or None an output

COMPOSITIONS: dict[Key, Forward] = {}
"""What each operator computes, in operators that have a rule."""

SHAPES: dict[Key, Callable[[ir.Node], ir.Shape]] = {}
"""The shape that an operator gives which has a rule of its own; its dtype is its input's."""

WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
"""The attributes of convolutions and pools."""


def composed(*operators: str, domain: str = "com.microsoft") -> Callable[[Forward], Forward]:
    """Enter the function below as what *operators* compute."""

    def enter(forward: Forward) -> Forward:
        for operator in operators:
            COMPOSITIONS[domain, operator] = forward
        rule(*operators, domain=domain, many=True, sparse=True, inner=True)(_through)
        return forward

    return enter


def _through(
    op: Emitter, node: ir.Node, dys: list[Any], *inputs: V | None, scope: core.Scope
) -> Iterable[tuple[V | None, Any]]:
    """Differentiate what *node* is composed of."""
    nodes, ys = compose(op, node)
    used = dict.fromkeys((*inputs, *captured(*bodies(node))))
    wanted = [x for x in used if x is not None and x in scope.active]
    for own, y, dy in zip(node.outputs, ys, dys, strict=True):
        if y is None and dy is not None:
            raise unsupported(node, f"a gradient of its output {own.name!r}")
    seeds = [(y, dy) for y, dy in zip(ys, dys, strict=True) if y is not None]
    gradients = scope.backward(op, nodes, seeds, wanted)
    for y, own in zip(ys, node.outputs, strict=True):
        if y is not None and own.name and y.producer() in nodes:
            y.replace_all_uses_with(own)
    return zip(wanted, gradients, strict=True)


def compose(op: Emitter, node: ir.Node) -> tuple[list[ir.Node], list[V | None]]:
    """Emit what *node* computes: return the nodes in order, and a value for each of its outputs, None if not given."""
    made = COMPOSITIONS[node.domain, node.op_type](op, node, *node.inputs)
    ys = list(made) if isinstance(made, tuple) else [made]
    ys = [*ys, *[None] * len(node.outputs)][: len(node.outputs)]
    nodes = _between(ys, node.inputs)
    infer_nodes(nodes)
    return nodes, ys


def infer_composed(graph: ir.Graph) -> bool:
    """Infer the outputs of composed operators, and of those behind them; tell whether anything was found."""
    if not any((node.domain, node.op_type) in COMPOSITIONS or (node.domain, node.op_type) in SHAPES for node in graph):
        return False
    op, found = Emitter(graph), False
    for node in graph:
        key, y = (node.domain, node.op_type), node.outputs[0]
        if y.shape is not None or any(x is not None and x.shape is None for x in node.inputs):
            continue
        if key in SHAPES and node.inputs[0] is not None:
            y.shape, y.type = SHAPES[key](node), node.inputs[0].type
        elif key in COMPOSITIONS:
            for own, twin in zip(node.outputs, _twins(op, node), strict=False):
                if twin is not None:
                    own.shape, own.type = twin.shape, own.type or twin.type
        elif node.domain == "":
            infer_nodes([node], graph.opset_imports.get(""))
        found = found or y.shape is not None
    op.place(())
    return found


def _twins(op: Emitter, node: ir.Node) -> list[V | None]:
    """Return the outputs of what *node* is composed of; none in a form that is refused, as it may lie off the path."""
    try:
        return compose(op, node)[1]
    except MissingRuleError:
        return []


def _between(ys: Sequence[V | None], xs: Sequence[V | None]) -> list[ir.Node]:
    """Return the nodes from *xs* to *ys*, each behind those that it reads."""
    ends, seen, ordered = set(xs), set(), []

    def visit(value: V | None) -> None:
        node = None if value is None or value in ends else value.producer()
        if node is None or node.graph is not None or node in seen:
            return
        seen.add(node)
        for x in used_values(node):
            visit(x)
        ordered.append(node)

    for y in ys:
        visit(y)
    return ordered


def copied(node: ir.Node, *names: str) -> dict[str, Any]:
    """Return those of the node's attributes *names* that it has, as the emitter takes them."""
    values = {name: node.attributes[name].value for name in names if name in node.attributes}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items() if v not in ((), [])}


def channels_first(op: Emitter, x: V, last: int = 1) -> V:
    """Return *x* with its channels at axis 1, where it has them *last*."""
    return op.Transpose(x, perm=[0, rank(x) - 1, *range(1, rank(x) - 1)]) if last else x


def channels_back(op: Emitter, y: V, dims: int, last: int = 1) -> V:
    """Return *y*, of *dims* axes and its channels at axis 1, with these where they were."""
    return op.Transpose(y, perm=[0, *range(2, dims), 1]) if last else y


def length(x: V, axis: int) -> int:
    """Return the length of *x* along *axis*, which must be known before the model runs."""
    known = None if x.shape is None else x.shape[axis]
    if not isinstance(known, int):
        raise unsupported(x.producer() or x.consumers()[0], f"an unknown length of {x.name!r} along axis {axis}")
    return known


def unsupported(node: ir.Node, what: str) -> MissingRuleError:
    """Return the error that *node* has no gradient in this form."""
    return MissingRuleError(f"node {node.name!r} ({node.domain}::{node.op_type}) has no gradient rule with {what}")
