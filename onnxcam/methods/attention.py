"""Maps of transformers from the gradients of their attention probabilities."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import backward, connected, dependents
from onnxcam.errors import MethodError
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.subgraph import bodies, used_values
from onnxcam.methods.base import method
from onnxcam.methods.context import MapContext
from onnxcam.structure.blocks import cuts
from onnxcam.structure.layer import ancestors
from onnxcam.structure.layout import TokenLayout
from onnxcam.structure.propagate import layouts

__all__ = ["AttentionBlock", "attention_blocks", "legrad"]

_FUSED = frozenset(
    (
        "Attention MultiHeadAttention QAttention QOrderedAttention PackedAttention PackedMultiHeadAttention "
        "GroupQueryAttention DecoderMaskedMultiHeadAttention SparseAttention LinearAttention"
    ).split()
)
"""Operators that compute attention without an output for its probabilities."""

_BETWEEN = operators(Trait.COPIES | Trait.QUANTISES) | {"Dropout", "Where"}
"""Operators allowed between the softmax and the product with the values."""


@dataclass(frozen=True)
class AttentionBlock:
    """A block of a transformer.

    Attributes:
        probabilities: Its attention probabilities, [N, heads, T, T] or [N · heads, T, T].
        output: Its output.
        layout: The layout of the output.
    """

    probabilities: ir.Value
    output: ir.Value
    layout: TokenLayout


@method("legrad", at_layer=True, uses_layer=False, needs_attention=True)
def legrad(context: MapContext, first: int = 0) -> ir.Value:
    """M = mean over blocks l, heads h and rows i of ReLU(∂s^l / ∂A^l_hi), at the cells' columns.

    Bousselham et al., LeGrad: An Explainability Method for Vision Transformers via Feature Formation Sensitivity,
    2404.03214. A^l are the attention probabilities of block l, s^l is the score of the class that the network's head
    gives for the mean of the block's tokens, as in the authors' code: each token is replaced by that mean before the
    head. *first* is the index of the first block of the sum, from 0. The map has the size of the grid of patches.

    The model must be a transformer with global self-attention, exported with Softmax as a separate node.

    Example:
        >>> onnxcam.explain("vit.onnx", "cat.jpg", method="legrad", settings={"first": 6})
    """
    found = attention_blocks(context)
    if first >= len(found):
        raise MethodError(f"the setting first of legrad is below the number of blocks, {len(found)}, not {first}")
    maps = [_sensitivity(context, block, found[-1].output) for block in found[first:]]
    total = context.op.Div(context.op.total(*maps), float(len(maps)))
    total.shape = ir.Shape([None, *found[-1].layout.grid])
    return total


def _sensitivity(context: MapContext, block: AttentionBlock, last: ir.Value) -> ir.Value:
    """Return the mean of ReLU(∂s / ∂A) over heads and rows, at the cells: [N, *grid]."""
    op, a, layout = context.op, block.probabilities, block.layout
    mean = op.Expand(op.ReduceMean(block.output, [layout.token], keepdims=1), op.Shape(block.output))
    mean.shape, mean.type = block.output.shape, block.output.type
    y = _head(context, last, mean)
    seeds = {y: context.target.seed}
    (found,) = backward(op, seeds, [a], STANDARD, [*op.graph, *op.pending((), [y])])
    g = op.Relu(connected(a, found, seeds, STANDARD))
    if len(a.shape or ()) == 3:
        rows = op.ReduceMean(g, [1], keepdims=0)
        g = op.ReduceMean(op.Reshape(rows, op.Concat(op.dim(context.image, 0), [-1], op.dim(a, -1), axis=0)), [1])
    else:
        g = op.ReduceMean(g, [1, 2], keepdims=0)
    return op.Reshape(op.Slice(g, [layout.offset], [layout.offset + layout.cells], [-1]), [-1, *layout.grid])


def _head(context: MapContext, last: ir.Value, given: ir.Value) -> ir.Value:
    """Return the scores that the network computes with *given* in place of *last*."""
    op, before = context.op, ancestors(context.target.value)
    twins = {last: given}
    for node in op.graph:
        if before.isdisjoint(node.outputs) or twins.keys().isdisjoint(used_values(node)):
            continue
        if bodies(node):
            raise MethodError(
                f"legrad cannot repeat the network's head for each block: {node.op_type} (node {node.name!r}) holds a "
                "graph; use --method gradcam"
            )
        inputs = [x if x is None else twins.get(x, x) for x in node.inputs]
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        made = op.emit(node.op_type, inputs, len(node.outputs), node.domain, attributes)
        for y, twin in zip(node.outputs, (made,) if len(node.outputs) == 1 else made, strict=True):
            twin.shape = y.shape if twin.shape is None else twin.shape
            twin.type = twin.type or y.type
            twins[y] = twin
    return twins[context.target.value]


def attention_blocks(context: MapContext) -> list[AttentionBlock]:
    """Return the blocks with global self-attention; MethodError where there are none."""
    tokens, active = _tokens(context), dependents(context.op.graph, [context.image], STANDARD)
    found = list(_attention_groups(context, tokens, active))
    if not found or not found[-1].behind:
        raise MethodError(
            "legrad needs a transformer in which all tokens attend to each other; between the image and the scores "
            "there is no Softmax of shape [N, heads, tokens, tokens]; use --method gradcam"
        )
    ends = [group.behind[-1] for group in found]
    summed = len(ends) == 1 or _is_residual(ends[0], active)  # else blocks end with a normalisation
    ends[-1] = next((y for y in reversed(found[-1].behind) if _is_residual(y, active) == summed), ends[-1])
    return [AttentionBlock(a, y, tokens[y]) for group, y in zip(found, ends, strict=True) for a in group.probabilities]


@dataclass(frozen=True)
class _AttentionGroup:
    """Consecutive attention probabilities, and the token tensors behind them, up to the next attention."""

    probabilities: list[ir.Value] = field(default_factory=list)
    behind: list[ir.Value] = field(default_factory=list)


def _attention_groups(
    context: MapContext, tokens: Mapping[ir.Value, TokenLayout], active: set[ir.Value]
) -> Iterator[_AttentionGroup]:
    lengths = {y.shape[layout.token] for y, layout in tokens.items() if y.shape is not None}
    before, group = ancestors(context.target.value), _AttentionGroup()
    for node in context.op.graph:
        y = node.outputs[0]
        if y not in before or y not in active:
            continue
        if node.op_type in _FUSED:
            raise MethodError(
                f"legrad needs the attention probabilities, which {node.op_type} (node {node.name!r}) does not output; "
                "export the model with attention as separate operators (opset 22 or older; attn_implementation='eager' "
                "in transformers) and not optimised, or use --method gradcam"
            )
        if _is_attention(node, active, lengths):
            if group.behind:
                yield group
                group = _AttentionGroup()
            group.probabilities.append(y)
        elif y in tokens and group.probabilities:
            group.behind.append(y)
    if group.probabilities:
        yield group


def _tokens(context: MapContext) -> dict[ir.Value, TokenLayout]:
    """Return the tensors of floating-point tokens through which every path to the score goes, with their layouts."""
    graph, image = context.op.graph, context.image
    found = layouts(graph, image, STANDARD)
    passed = cuts(graph, [image], context.target.value, STANDARD)
    return {
        y: layout
        for y, layout in found.items()
        if isinstance(layout, TokenLayout) and y in passed and y.dtype is not None and y.dtype.is_floating_point()
    }


def _is_attention(node: ir.Node, active: set[ir.Value], lengths: Collection[Any]) -> bool:
    """Whether *node* computes probabilities [N, heads, T, T] or [N · heads, T, T] that weight values of the image."""
    y = node.outputs[0]
    shape = y.shape
    if node.op_type != "Softmax" or shape is None or len(shape) not in (3, 4):
        return False
    square = shape[-1] == shape[-2] and shape[-1] in lengths
    if not square or node.attributes.get_int("axis", -1) not in (-1, len(shape) - 1):
        return False
    values = [y]
    while values:
        for user, position in values.pop().uses():
            if user.op_type == "MatMul" and position == 0 and user.inputs[1] in active:
                return True
            if user.op_type in _BETWEEN:
                values.append(user.outputs[0])
    return False


def _is_residual(y: ir.Value, active: set[ir.Value]) -> bool:
    node = y.producer()
    return node is not None and node.op_type == "Add" and all(x in active for x in node.inputs)
