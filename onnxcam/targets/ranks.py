"""Ranks: outputs of TopK, ArgMax, a maximum or ZipMap, and the vector behind them."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import units
from onnxcam.targets.heads import HEADS, TRANSPARENT, before_copies, width

__all__ = ["selected"]

_SELECTS = frozenset(("TopK", "ArgMax", "Hardmax"))
_OF_RANKS = (
    operators(Trait.COPIES | Trait.RESHAPES | Trait.CUTS | Trait.COMPARES | Trait.QUANTISES)
    | {"Transpose", "OneHot", "Where", "GatherElements", "GatherND", "ArrayFeatureExtractor", "LabelEncoder", "ZipMap"}
    | HEADS.keys()
    | operators(Trait.ARITHMETIC)
)
_RANK_STEPS = 16


def selected(y: ir.Value, reached: set[ir.Value]) -> ir.Value | None:
    """Return the vector of which *y* is ranks (TopK, ArgMax), the maximum or a dictionary (ZipMap); else None."""
    parts = _joined(y)
    if parts:
        found = {selected(part, reached) for part in parts}
        return found.pop() if len(found) == 1 else None
    stack, steps = [y], 0
    while stack and steps < _RANK_STEPS:
        node, steps = stack.pop().producer(), steps + 1
        if node is None or not node.inputs or node.inputs[0] is None:
            continue
        x = node.inputs[0]
        takes_most = node.op_type == "ReduceMax" and _is_one_number(node.outputs[0])
        if (node.op_type in {*_SELECTS, "ZipMap"} or takes_most) and x in reached and (width(x) or 0) > 1:
            real = x.dtype is not None and (x.dtype.is_floating_point() or units(x) is not None)
            return x if real else None
        if node.op_type in _OF_RANKS | TRANSPARENT:
            stack += _indices(node, reached)
    return None


def _joined(y: ir.Value) -> list[ir.Value]:
    """Return the parts that *y* joins, such as the best class and its score; an empty list where it joins none."""
    node = before_copies(y).producer()
    return [x for x in node.inputs if x is not None] if node is not None and node.op_type == "Concat" else []


def _is_one_number(y: ir.Value) -> bool:
    if y.shape is None or len(y.shape) == 0:
        return y.shape is not None
    return width(y) == 1 or (len(y.shape) == 1 and not isinstance(y.shape[0], int))


def _indices(node: ir.Node, reached: set[ir.Value]) -> list[ir.Value]:
    """Return the inputs of *node* that may be ranks: all that are computed from the image, but no features."""
    computed = [x for x in node.inputs if x is not None and x in reached]
    if len(computed) > 1 and node.op_type in operators(Trait.ARITHMETIC):
        return []
    if len(computed) > 1 and node.op_type in ("Gather", "GatherND", "GatherElements", "Where"):
        return computed if width(computed[0]) is not None else []
    return computed
