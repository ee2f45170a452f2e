"""Questions about a graph's outputs that recognise what a model does."""

from __future__ import annotations

import math
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
from onnxcam.targets.heads import HEADS, multiple

__all__ = [
    "channels",
    "class_names",
    "decided",
    "factor",
    "function_before",
    "grids",
    "holds_images",
    "is_flat_map",
    "is_scaled",
    "is_signed",
    "length",
    "numeric_outputs",
    "thresholded",
    "unclipped",
    "unscaled",
]

_MOVES = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES | Trait.MOVES)
_AFTER_DECISION = _MOVES | operators(Trait.RESIZES | Trait.LOGIC) | {"Mul", "Where"}
_SCALES = _MOVES | operators(Trait.RESIZES)
_FLATTENS = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES | Trait.ACTIVATES)
_PERCENT = 100
"""A probability times this or 255 is a mask; a sigmoid times less is a quantity, such as depth up to 10 m."""
_LIMITS = ("Clip", "Min", "Max", "Identity", "Cast", "Round", "Floor")
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


def holds_images(image: ir.Value) -> bool:
    """Return whether the input *image* has the channels of two or three images in colour, as RIFE takes them."""
    return channels(image) in (6, 9)


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


def is_signed(y: ir.Value) -> bool:
    """Return whether *y* is a Tanh, perhaps times a constant: colours or coordinates, no scores of classes."""
    node = unscaled(y).producer()
    return node is not None and node.op_type == "Tanh"


def unscaled(y: ir.Value) -> ir.Value:
    """Return the tensor of which *y* is a multiple, moved and resized."""
    return _before_factor(y)[0]


def is_scaled(y: ir.Value) -> bool:
    """Return whether *y* is a tensor times a number above 1, in units of its own."""
    return _before_factor(y)[1] > 1


def factor(y: ir.Value) -> float:
    """Return the number of which *y* is the product with `unscaled`."""
    return _before_factor(y)[1]


def _before_factor(y: ir.Value) -> tuple[ir.Value, float]:
    """Return the tensor before moves, resizes and factors that are one number, and the product of these."""
    value, factor = y, 1.0
    while (node := value.producer()) is not None and node.inputs:
        found = multiple(node)
        if found is not None:
            value, factor = found[0], factor * found[1]
        elif node.op_type in _SCALES and node.inputs[0] is not None:
            value = node.inputs[0]
        else:
            break
    return value, abs(factor)


def unclipped(y: ir.Value) -> str:
    """Return the name of the tensor before *y* is clipped or rounded: a value at its limit has no gradient."""
    value, node = y, y.producer()
    while node is not None and node.op_type in _LIMITS and node.inputs[0] is not None:
        before = node.inputs[0]
        if before.shape is None or y.shape is None or len(before.shape) != len(y.shape) or before.producer() is None:
            break
        value, node = before, before.producer()
    return value.name or ""


def is_flat_map(y: ir.Value, image: ir.Value) -> bool:
    """Return whether *y* is [N, H · W], as large as the image: the graph flattens a grid, or ends in a sigmoid."""
    own = picture_layout(image)
    lengths = [] if own is None else list(own.size(image))
    if len(y.shape or ()) != 2 or not lengths or not all(isinstance(n, int) for n in lengths):
        return False
    return length(y, 1) == math.prod(lengths) and (function_before(y) == "sigmoid" or _flattens(y, lengths))


def _flattens(y: ir.Value, lengths: Sequence[object]) -> bool:
    value: ir.Value | None = y
    while value is not None and (node := value.producer()) is not None and node.op_type in _FLATTENS:
        value = node.inputs[0]
        if value is not None and [n for n in list(value.shape or ())[1:] if n != 1] == lengths:
            return True
    return False


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
            return None if 1 < _before_factor(y)[1] < _PERCENT else (node, value)
        if node.op_type not in _AFTER_DECISION:
            return None
        scaled = scaled or node.op_type == "Mul"
        value = scores
    return None


def _data(node: ir.Node) -> ir.Value | None:
    """Return the first input of *node* that another node computes from data; a constant factor may stand before it."""
    computed = [x for x in node.inputs if x is not None and x.producer() is not None and constant(x) is None]
    return computed[0] if computed else node.inputs[0] if node.inputs else None
