"""Replace an If whose condition is known before the model runs by its branch.

PyTorch's older exporter writes such nodes: ``squeeze`` and local response normalisation test a known length.
"""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from onnxcam.graph.compositions import Compositions
from onnxcam.graph.fold import constant
from onnxcam.graph.subgraph import all_nodes, graphs, values
from onnxcam.passes.constants import fold_constants
from onnxcam.passes.shapes import infer_shapes

__all__ = ["take_branches"]


def take_branches(model: ir.Model, compositions: Compositions) -> bool:
    """Replace every If of known condition by its branch, in place; return whether there was one.

    A replacement may make further conditions known: infer the shapes again and call it again until it returns False.
    """
    if not any(node.op_type == "If" for node in all_nodes(model.graph)):
        return False
    for graph in graphs(model.graph):
        fold_constants(graph)
    infer_shapes(model, compositions, anew=True)
    found = False
    for graph in list(graphs(model.graph)):
        fold_constants(graph)
        for node in list(graph):
            x = node.inputs[0] if node.op_type == "If" and node.domain == "" and node.graph is graph else None
            known = constant(x)
            if known is not None and known.size == 1:
                _inline(model, graph, node, "then_branch" if known.item() else "else_branch")
                found = True
    return found


def _inline(model: ir.Model, graph: ir.Graph, node: ir.Node, branch: str) -> None:
    body = node.attributes[branch].as_graph()
    outputs = list(body.outputs)
    body.outputs.clear()
    _make_unique(model, body)
    moved = list(body)
    body.remove(moved)
    graph.insert_before(node, moved)
    for value in list(body.initializers.values()):
        body.initializers.pop(value.name or "")
        graph.register_initializer(value)
    own: set[ir.Value | None] = {y for inner in moved for y in inner.outputs}
    for x, y in zip(outputs, node.outputs, strict=True):
        if x not in own or outputs.count(x) > 1:
            identity = ir.Node("", "Identity", [x])
            graph.insert_before(node, identity)
            x = identity.outputs[0]
        name = y.name
        x.type, x.shape = x.type or y.type, x.shape if x.shape is not None else y.shape
        y.replace_all_uses_with(x, replace_graph_outputs=True)
        y.name, x.name = None, name
    graph.remove(node, safe=True)


def _make_unique(model: ir.Model, body: ir.Graph) -> None:
    """Rename the values of *body* whose names occur elsewhere too."""
    taken = Counter(value.name for value in values(model.graph))
    for value in values(body):
        if not value.name or taken[value.name] < 2:
            continue
        taken[value.name] -= 1
        count = 1
        while f"{value.name}_{count}" in taken:
            count += 1
        value.name = f"{value.name}_{count}"
        taken[value.name] = 1
