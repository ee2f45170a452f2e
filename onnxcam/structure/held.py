"""Networks for probing whose attention holds its keys and values: each token answers for its own place only."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.table import RuleSet

__all__ = ["hold"]


def hold(graph: ir.Graph, image: ir.Value, rules: RuleSet) -> dict[str, str]:
    """Make inputs of *graph* of the second factors in products of two activations; return their tensors by input.

    In attention the first factors are the queries and the weights of each query; the second are the keys, the values.
    """
    active = dependents(graph, [image], rules)
    products = [node for node in graph if node.op_type == "MatMul" and all(x in active for x in node.inputs)]
    factors = dict.fromkeys(node.inputs[1] for node in products)
    held = {b: ir.Value(name=f"{b.name}.held", type=b.type, shape=b.shape) for b in factors if b is not None and b.type}
    for node in products:
        if (b := node.inputs[1]) in held:
            node.replace_input_with(1, held[b])
    graph.inputs.extend(held.values())
    return {new.name or "": b.name or "" for b, new in held.items()}
