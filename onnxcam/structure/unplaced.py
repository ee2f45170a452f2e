"""Activations behind the known layers whose place in the image the graph does not show."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.table import RuleSet
from onnxcam.graph.infer import no_numbers
from onnxcam.graph.operators import Trait, operators

__all__ = ["TOKEN_MAKERS", "last", "origin", "residual", "unplaced"]

TOKEN_MAKERS = frozenset(
    ("LayerNormalization", "RMSNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization")
)
"""Operators whose output is a layer of tokens, besides residual sums."""

_MOVES = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES) | {"Transpose", "Slice", "Split", "Gather", "Pad"}
"""Operators that move the elements of an activation."""

_GRID_MAKERS = frozenset(("Relu", "LeakyRelu", "PRelu", "Clip", "Gelu", "HardSwish", "Elu", "Concat", "Conv", "Add"))
_GRID_MAKERS |= {"FusedConv", "QLinearConv", "ConvTranspose", "BatchNormalization", "QLinearAdd", "QLinearConcat"}
_GRID_MAKERS |= {"Mish", "Selu", "Softplus", "ConvInteger", "Mul"}


def unplaced(
    graph: ir.Graph,
    image: ir.Value,
    scores: ir.Value,
    rules: RuleSet,
    placed: Collection[ir.Value],
    apart: Collection[ir.Value],
) -> list[ir.Value]:
    """Return the activations on the way from the *placed* tensors, which have layouts, to *scores*, last first.

    A tensor that only moves such an activation is one too. Tensors in *apart* are none.
    """
    active = dependents(graph, [image], rules)
    passed = _back(scores, placed, active)
    return [
        y
        for node in reversed(list(graph))
        for y in node.outputs[:1]
        if y in passed and y not in placed and y not in apart
        if _may_have_extent(y) and _is_activation(y, active)
    ]


def last(scores: ir.Value, layers: Collection[ir.Value], active: Collection[ir.Value]) -> set[ir.Value]:
    """Return those of *layers* from which a path of *active* tensors leads to *scores* without another of them."""
    return _back(scores, layers, active) & set(layers)


def origin(value: ir.Value) -> ir.Value:
    """Return the activation that *value* only moves; *value* itself where its operator is no movement."""
    node = value.producer()
    while node is not None and node.op_type in _MOVES and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def _back(scores: ir.Value, stops: Collection[ir.Value], active: Collection[ir.Value]) -> set[ir.Value]:
    """Return the *active* tensors that *scores* are computed from, not beyond *stops*."""
    seen, stack = {scores}, [scores]
    while stack:
        value = stack.pop()
        node = value.producer() if value not in stops else None
        for x in node.inputs if node is not None else ():
            if x is not None and x in active and x not in seen:
                seen.add(x)
                stack.append(x)
    return seen


def _may_have_extent(y: ir.Value) -> bool:
    """Whether *y* is a tensor of numbers with two or more axes besides the first that may be longer than 1."""
    if no_numbers(y) is not None or (y.dtype is not None and y.dtype == ir.DataType.INT64):
        return False
    return y.shape is None or sum(not isinstance(length, int) or length > 1 for length in list(y.shape)) > 1


def _is_activation(y: ir.Value, active: Collection[ir.Value]) -> bool:
    """Whether *y*, or what it moves, is a residual sum, a normalisation, a convolution, or a pointwise activation."""
    node = origin(y).producer()
    if node is None:
        return False
    if y is not origin(y) and all(user.op_type in _MOVES for user in y.consumers()):
        return False  # only the end of a movement
    if node.op_type in TOKEN_MAKERS or residual(node, active):
        return True
    shape = origin(y).shape
    rank = len(shape) if shape is not None else 4
    return rank != 2 and node.op_type in _GRID_MAKERS and (rank > 3 or node.op_type == "Concat")


def residual(node: ir.Node, active: Collection[ir.Value]) -> bool:
    """Whether *node* adds two activations."""
    return node.op_type == "Add" and all(x in active for x in node.inputs)
