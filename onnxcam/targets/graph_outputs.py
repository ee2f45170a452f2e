"""Questions about a graph's outputs that recognise what a model does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.errors import TargetError
from onnxcam.graph.fold import constant
from onnxcam.graph.infer import no_numbers, rank
from onnxcam.graph.operators import Trait, operators
from onnxcam.metadata.labels import ClassNames
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.structure.propagate import layouts
from onnxcam.targets.heads import HEADS

__all__ = [
    "channels",
    "class_names",
    "decided",
    "function_before",
    "grids",
    "length",
    "numeric_outputs",
    "thresholded",
]

_MOVES = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES | Trait.MOVES)
_AFTER_DECISION = _MOVES | operators(Trait.RESIZES | Trait.LOGIC) | {"Mul", "Where"}
_THRESHOLDS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Round")
_INDICES = {"ArgMax": 0, "TopK": 1}
"""Operators that put out the index of the largest score, and at which output."""
_FUNCTIONS = {**HEADS, "Relu": "relu", "Softplus": "softplus", "Exp": "exp"}


def numeric_outputs(graph: ir.Graph, rank: int) -> list[ir.Value]:
    """Return the outputs of *graph* that are tensors of numbers with *rank* axes."""
    return [y for y in graph.outputs if no_numbers(y) is None and y.shape is not None and len(y.shape) == rank]


def length(y: ir.Value, axis: int) -> object:
    """Return the length of an axis: an int, a symbolic dimension, or None where the shape is unknown."""
    return y.shape[axis] if y.shape is not None else None


def channels(image: ir.Value) -> object:
    """Return the number of channels of the image input."""
    layout = picture_layout(image)
    return length(image, layout.channel) if layout is not None else None


def grids(graph: ir.Graph, image: ir.Value) -> Iterator[tuple[ir.Value, GridLayout, int]]:
    """Yield the outputs that are grids over the image, with their layouts and numbers of channels."""
    own = picture_layout(image)
    outputs = [] if own is None else numeric_outputs(graph, own.rank)
    if own is None or not outputs:
        return
    known = layouts(graph, image, STANDARD)
    for y in outputs:
        layout = known.get(y)
        layout = layout if isinstance(layout, GridLayout) and type(layout) is GridLayout else own
        count = length(y, layout.channel)
        if isinstance(count, int) and y.dtype is not None and y.dtype != ir.DataType.BOOL:
            yield y, layout, count


def class_names(names: ClassNames, count: object, known: bool) -> Sequence[str] | None:
    """Return *count* class names; None if the user gave another number and the task is not *known* from the card."""
    try:
        return names.of(count if isinstance(count, int) else None)
    except TargetError:
        if known:
            raise
        return None


def function_before(y: ir.Value) -> str | None:
    """Return the last function before *y*, "softmax", "sigmoid", "relu" …; behind it, elements only move."""
    value: ir.Value | None = y
    while value is not None and (node := value.producer()) is not None:
        if node.op_type in _FUNCTIONS:
            return _FUNCTIONS[node.op_type]
        if node.op_type not in _MOVES:
            return None
        value = node.inputs[0]
    return None


def decided(y: ir.Value) -> tuple[ir.Value, int | None] | None:
    """Return the scores of which *y* is the decision, and the axis of classes; None where *y* is no decision.

    A decision is the index of the largest score (ArgMax, TopK), or a score above a threshold or in steps (a probability
    times 255), which has no axis.
    """
    node, scores = _decision(y) or (None, None)
    if node is None or scores is None or node.op_type not in _INDICES:
        return None if scores is None else (scores, None)
    return scores, node.attributes.get_int("axis", 0 if node.op_type == "ArgMax" else -1) % rank(scores)


def thresholded(y: ir.Value) -> ir.Value | None:
    """Return the scores that *y* says to be above a threshold; None where *y* says no such thing."""
    node, scores = _decision(y) or (None, None)
    return scores if node is not None and node.op_type in _THRESHOLDS else None


def _decision(y: ir.Value) -> tuple[ir.Node, ir.Value] | None:
    """Return the node that decides what *y* is, and the scores that it decides about; behind it, elements only move."""
    value: ir.Value | None = y
    scaled = False
    while value is not None and (node := value.producer()) is not None:
        scores = _data(node)
        if scores is None:
            return None
        if node.op_type in _THRESHOLDS or (node.op_type in _INDICES and value is node.outputs[_INDICES[node.op_type]]):
            return node, scores
        if node.op_type == "Sigmoid" and scaled:
            return node, value
        if node.op_type not in _AFTER_DECISION:
            return None
        scaled = scaled or node.op_type == "Mul"
        value = scores
    return None


def _data(node: ir.Node) -> ir.Value | None:
    """Return the first input of *node* that another node computes from data; a constant factor may stand before it."""
    computed = [x for x in node.inputs if x is not None and x.producer() is not None and constant(x) is None]
    return computed[0] if computed else node.inputs[0] if node.inputs else None
