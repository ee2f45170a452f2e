"""Infer the shapes of loop states: onnx assumes that they may change, and infers nothing."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.graph.infer import infer_nodes, same
from onnxcam.graph.subgraph import graphs, values

__all__ = ["declare", "doubt_loops", "fill_loops"]


def doubt_loops(model: ir.Model) -> dict[ir.Value, ir.Shape | None]:
    """Remove the declared shapes of loop states that an iteration changes.

    PyTorch declares the shapes of the first iteration. Return the common part of the shapes before and after an
    iteration.
    """
    declared = {}
    for node in [node for graph in graphs(model.graph) for node in graph if node.op_type == "Loop"]:
        body = node.attributes["body"].as_graph()
        for before, after in zip(body.inputs[2:], body.outputs[1:], strict=False):
            common = _common(before.shape, after.shape)
            if common is None or not all(isinstance(dim, int) or dim.value for dim in common):
                declared[before], before.shape, after.shape = common, None, None
    return declared


def declare(shapes: dict[ir.Value, ir.Shape | None]) -> bool:
    """Set *shapes* on the values that have none; return whether there were any."""
    open_ = [value for value, shape in shapes.items() if shape is not None and value.shape is None]
    for value in open_:
        value.shape = shapes[value]
    return bool(open_)


def fill_loops(model: ir.Model) -> bool:
    """Set the shapes that loop states keep in every iteration; return whether any was found."""
    loops = [node for graph in graphs(model.graph) for node in graph if node.op_type == "Loop"]
    settled = [_settle(node, model.opset_imports.get("")) for node in loops]
    return any(settled)


def _settle(node: ir.Node, opset: int | None) -> bool:
    """Infer the shapes of the states of a Loop; return whether any was found.

    A state keeps its initial shape if an iteration keeps it; an axis that an iteration changes is open. If onnx cannot
    infer the shape after an iteration, only the rank is kept.
    """
    body = node.attributes["body"].as_graph()
    carried = zip(node.inputs[2:], body.inputs[2:], body.outputs[1:], strict=False)
    open_ = [(x.shape, before, after) for x, before, after in carried if x is not None and before.shape is None]
    states, guesses = [(before, after) for _, before, after in open_], [shape for shape, _, _ in open_]
    known = {value: value.shape for value in values(body)}
    while any(guess is not None for guess in guesses):
        for (before, _), guess in zip(states, guesses, strict=True):
            before.shape = guess
        infer_nodes(list(body), opset)
        found = [_common(guess, after.shape) for guess, (_, after) in zip(guesses, states, strict=True)]
        if found == guesses:
            return True
        guesses = found
        for value, shape in known.items():
            value.shape = shape
    return False


def _common(before: ir.Shape | None, after: ir.Shape | None) -> ir.Shape | None:
    """Return the common part of two shapes, None if their ranks differ."""
    if before is None or (after is not None and len(after) != len(before)):
        return None
    dims = list(before)
    return ir.Shape([a if after is not None and same(a, b) else None for a, b in zip(dims, after or dims, strict=True)])
