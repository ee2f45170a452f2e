"""Compositions: operators expressed by others, and the shapes that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import onnx_ir as ir

from onnxcam.errors import MissingRuleError, call_registered
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import infer_nodes
from onnxcam.graph.subgraph import used_values

__all__ = [
    "Compositions",
    "Forward",
    "Key",
]

Key: TypeAlias = tuple[str, str]  # domain, operator
Forward: TypeAlias = Callable[..., Any]  # (op, node, *inputs) -> a value, or a tuple with one or None an output


class Compositions(dict[Key, Forward]):
    """A table of operators expressed by standard operators.

    Attributes:
        shapes: For operators without composition, the function from a node to its output's shape. The dtype is that of
            the input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shapes: dict[Key, Callable[[ir.Node], ir.Shape | None]] = {}

    def compose(self, op: Emitter, node: ir.Node) -> tuple[list[ir.Node], list[ir.Value | None]]:
        """Emit the composition of *node*; return its nodes in order, and a value or None for each output."""
        forward = self[node.domain, node.op_type]
        made = call_registered(f"the rule for {node.op_type}", forward, op, node, *node.inputs)
        ys = list(made) if isinstance(made, tuple) else [made]
        ys = [*ys, *[None] * len(node.outputs)][: len(node.outputs)]
        nodes = _between(ys, node.inputs)
        infer_nodes(nodes)
        return nodes, ys

    def infer(self, graph: ir.Graph) -> bool:
        """Infer the outputs of composed operators and of the nodes after them; return whether anything was found."""
        if not any((node.domain, node.op_type) in keys for node in graph for keys in (self, self.shapes)):
            return False
        op, found = Emitter(graph), False
        for node in graph:
            key, y = (node.domain, node.op_type), node.outputs[0]
            if y.shape is not None or any(x is not None and x.shape is None for x in node.inputs):
                continue
            if key in self.shapes and node.inputs[0] is not None:
                y.shape, y.type = self.shapes[key](node), node.inputs[0].type
            elif key in self:
                for own, copy in zip(node.outputs, self._composed(op, node), strict=False):
                    if copy is not None:
                        own.shape, own.type = copy.shape, own.type or copy.type
            elif node.domain == "":
                infer_nodes([node], graph.opset_imports.get(""))
            found = found or y.shape is not None
        op.place(())
        return found

    def _composed(self, op: Emitter, node: ir.Node) -> list[ir.Value | None]:
        """Return the outputs of the composition of *node*; none if it is refused, as the node may be off the path."""
        try:
            return self.compose(op, node)[1]
        except MissingRuleError:
            return []


def _between(ys: Sequence[ir.Value | None], xs: Sequence[ir.Value | None]) -> list[ir.Node]:
    """Return the nodes from *xs* to *ys* in topological order."""
    ends, seen, ordered = set(xs), set(), []

    def visit(value: ir.Value | None) -> None:
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
