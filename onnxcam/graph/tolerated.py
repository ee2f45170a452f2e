"""Bring into standard form what ONNX Runtime accepts and onnx's checker refuses.

These are unsorted nodes, missing imports, and functions of another opset than the model's.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.graph.subgraph import all_nodes, graphs, used_values

__all__ = ["standardise"]

_LATEST = {"ai.onnx.ml": 5}  # ONNX Runtime takes its latest version of a domain that is not imported
_NAMELESS = "main"


def standardise(model: ir.Model) -> None:
    """Sort the nodes, import the domains that nodes use, and name the graph, in place.

    A function of another opset than the model's becomes one of the model's: ONNX Runtime reads its nodes as such.
    ValueError where a node depends on its own output.
    """
    model.graph.name = model.graph.name or _NAMELESS
    for graph in [model.graph, *(function.graph for function in model.functions.values())]:
        if not all(_is_sorted(inner) for inner in graphs(graph)):
            graph.sort()
    called = {key[0] for key in model.functions}
    for domain in {node.domain for node in all_nodes(model.graph)} - model.opset_imports.keys() - called - {""}:
        model.opset_imports[domain] = _LATEST.get(domain, 1)
    for function in model.functions.values():
        function.opset_imports.update({**_of_nodes(function), **model.opset_imports})


def _of_nodes(function: ir.Function) -> dict[str, int]:
    """Return an import for each domain that the nodes of *function* use and that it does not import."""
    used = {node.domain for node in function} - function.opset_imports.keys()
    return {domain: _LATEST.get(domain, 1) for domain in used}


def _is_sorted(graph: ir.Graph) -> bool:
    """Whether each node of *graph* comes after the nodes that it needs, those that its bodies need included."""
    seen: set[ir.Node | None] = {None}
    for node in graph:
        makers = (x.producer() for x in used_values(node) if x is not None)
        if any(maker not in seen and maker is not None and maker.graph is graph for maker in makers):
            return False
        seen.add(node)
    return True
