"""Networks for probing in which tensors that depend on all places are constant: each cell answers for its own place.

In attention these are the keys and the values; in a normalisation over space its statistics, in a gate its means.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.table import RuleSet
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.operators import Trait, operators

__all__ = ["hold"]

_MEANS = frozenset(name for name in operators(Trait.AVERAGES | Trait.SELECTS) if name.startswith(("Reduce", "Global")))
_MOVES = operators(Trait.RESHAPES | Trait.COPIES) | {"Transpose", "Dropout"}
_NORMALISATIONS = frozenset(("InstanceNormalization", "GroupNormalization"))


def hold(graph: ir.Graph, image: ir.Value, rules: RuleSet) -> dict[str, str]:
    """Make inputs of *graph* of the tensors that depend on all places; return the tensor of each such input."""
    active = dependents(graph, [image], rules)
    held: dict[ir.Value, ir.Value] = {}

    def holding(x: ir.Value) -> ir.Value:
        return held.setdefault(x, ir.Value(name=f"{x.name}.held", type=x.type, shape=x.shape))

    op = Emitter(graph)
    nodes = [node for node in graph if node.outputs[0] in active and all(y.type for y in node.outputs)]
    for node in nodes:
        x, y = node.inputs[0], node.outputs[0]
        if node.op_type in _MEANS:
            y.replace_all_uses_with(holding(y))
        elif node.op_type in _NORMALISATIONS and x is not None:
            moved = op.Add(op.Sub(x, holding(x)), holding(y))
            op.place([moved])
            y.replace_all_uses_with(moved)
        for place in _places(node, active):
            node.replace_input_with(place, holding(_input(node, place)))
    graph.inputs.extend(held.values())
    graph.sort()
    return {new.name or "": x.name or "" for x, new in held.items()}


def _places(node: ir.Node, active: set[ir.Value]) -> Iterator[int]:
    """Yield the input of a product of two activations to hold: the keys, or the values.

    This is the second factor; the first one where the weights of the attention are the second.
    """
    if node.op_type == "MatMul" and all(x in active for x in node.inputs):
        first, second = (_weights(_input(node, place)) for place in (0, 1))
        yield 0 if second and not first else 1


def _weights(x: ir.Value) -> bool:
    """Whether *x* is a softmax, perhaps moved."""
    node = x.producer()
    while node is not None and node.op_type in _MOVES:
        node = _input(node, 0).producer()
    return node is not None and node.op_type == "Softmax"


def _input(node: ir.Node, place: int) -> ir.Value:
    x = node.inputs[place]
    assert x is not None
    return x
