"""The blocks of a transformer: its attention probabilities, also inside fused operators, and their gradients."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import Cotangent, backward, connected, dependents
from onnxcam.autodiff.rulesets import past_rounding
from onnxcam.errors import MethodError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.operators import Trait, operators
from onnxcam.methods.context import MapContext
from onnxcam.structure.blocks import cuts
from onnxcam.structure.layer import ancestors
from onnxcam.structure.layout import TokenLayout
from onnxcam.structure.propagate import layouts

__all__ = ["AttentionBlock", "AttentionProduct", "attention_blocks", "pooled_blocks", "probability_gradients"]

_FUSED = frozenset(
    (
        "Attention MultiHeadAttention QAttention QOrderedAttention PackedAttention PackedMultiHeadAttention "
        "GroupQueryAttention DecoderMaskedMultiHeadAttention SparseAttention LinearAttention"
    ).split()
)
"""Operators that compute attention without an output for its probabilities."""

_BETWEEN = operators(Trait.COPIES | Trait.QUANTISES) | {"Dropout", "Where"}
"""Operators allowed between the softmax and the product with the values."""


_BEFORE = operators(Trait.ARITHMETIC | Trait.COPIES | Trait.QUANTISES) | {"Where", "Softmax", "Tanh", "Concat"}
"""Operators allowed between the product of queries and keys and the softmax."""


@dataclass(frozen=True)
class AttentionProduct:
    """A product of attention probabilities and values.

    Attributes:
        probabilities: [N, heads, T, T] or [N · heads, T, T].
        nodes: If a fused operator computes them, its nodes written out in standard operators; else none.
        written: The output of these nodes that stands for that of the operator.
        attended: The output of the operator; None for separate operators.
    """

    probabilities: ir.Value
    nodes: Sequence[ir.Node] = ()
    written: ir.Value | None = None
    attended: ir.Value | None = None

    @property
    def differentiated(self) -> ir.Value:
        """The tensor of the model whose gradient gives that of the probabilities."""
        return self.probabilities if self.attended is None else self.attended

    def gradient(self, op: Emitter, found: ir.Value) -> ir.Value:
        """Return the gradient of the probabilities, given *found*, that of `differentiated`."""
        if self.written is None:
            return found
        (inner,) = backward(op, {self.written: found}, [self.probabilities], STANDARD, self.nodes)
        return connected(self.probabilities, inner, [self.written], STANDARD)

    def scores(self, op: Emitter) -> ir.Node:
        """Return the product of queries and keys before the softmax, scales and masks; MethodError if there is none."""
        node = _scores(self.probabilities)
        if node is None:
            raise MethodError(
                f"no product of queries and keys leads to the attention probabilities {self.probabilities.name!r}; use "
                "--method chefer"
            )
        if node.op_type == "MatMul":
            return node
        return next(made for made in STANDARD.compositions.compose(op, node)[0] if made.op_type == "MatMul")


def _scores(y: ir.Value) -> ir.Node | None:
    """Return the product of two activations from which *y* is computed, element by element but for a softmax."""
    node = y.producer()
    if node is None or node.op_type in ("MatMul", "FusedMatMul"):
        return node
    if node.op_type not in _BEFORE:
        return None
    return next((found for x in node.inputs if x is not None and (found := _scores(x)) is not None), None)


@dataclass(frozen=True)
class AttentionBlock:
    """A block of a transformer.

    Attributes:
        attention: Its product of probabilities and values.
        output: Its output.
        layout: The layout of the output.
        last: The last tensor of tokens behind it, such as a normalisation, of the same layout.
    """

    attention: AttentionProduct
    output: ir.Value
    layout: TokenLayout
    last: ir.Value

    @property
    def probabilities(self) -> ir.Value:
        """Its attention probabilities, [N, heads, T, T] or [N · heads, T, T]."""
        return self.attention.probabilities


def probability_gradients(
    op: Emitter,
    seeds: Mapping[ir.Value, Cotangent],
    products: Sequence[AttentionProduct],
    nodes: Sequence[ir.Node] | None = None,
) -> list[ir.Value]:
    """Return the gradient of the probabilities of each of *products*, given the cotangents *seeds*."""
    wanted = [product.differentiated for product in products]
    found = backward(op, seeds, wanted, past_rounding(STANDARD, seeds), nodes)
    return [
        product.gradient(op, connected(x, g, seeds, STANDARD))
        for product, x, g in zip(products, wanted, found, strict=True)
    ]


def attention_blocks(context: MapContext, method: str, *, whole: bool = True) -> list[AttentionBlock]:
    """Return the blocks with global self-attention, for *method*; MethodError where there are none.

    *whole*: refuse networks in which other attention stands between the image and the score too.
    """
    found, pool = _blocks(context, method, whole=whole)
    if pool is not None:
        raise MethodError(
            f"{method} needs a head that reads a class token or the mean of tokens, and this one pools them by an "
            f"attention of the shape {pool.probabilities.shape}; use --method chefer"
        )
    return found


def pooled_blocks(context: MapContext, method: str) -> tuple[list[AttentionBlock], AttentionProduct | None]:
    """Return the blocks as `attention_blocks` does, and the attention by which the head pools their tokens, if it does.

    Its probabilities are [N, heads, Q, T] or [N · heads, Q, T], for Q queries that are no tokens of the image.
    """
    return _blocks(context, method, whole=True)


def _blocks(context: MapContext, method: str, *, whole: bool) -> tuple[list[AttentionBlock], AttentionProduct | None]:
    tokens, active = _tokens(context), dependents(context.op.graph, [context.image], STANDARD)
    found = list(_attention_groups(context, tokens, active, method, whole=whole))
    pool = found.pop().attention[0] if found and found[-1].pools else None
    if not found or not found[-1].behind:
        raise MethodError(
            f"{method} needs a transformer in which all tokens attend to each other; between the image and the scores "
            "there is no Softmax of shape [N, heads, tokens, tokens]; use --method gradcam"
        )
    ends = [group.behind[-1] for group in found]
    summed = len(ends) == 1 or _is_residual(ends[0], active)  # else blocks end with a normalisation
    ends[-1] = next((y for y in reversed(found[-1].behind) if _is_residual(y, active) == summed), ends[-1])
    blocks = [
        AttentionBlock(a, y, tokens[y], group.behind[-1])
        for group, y in zip(found, ends, strict=True)
        for a in group.attention
    ]
    return blocks, pool


@dataclass(frozen=True)
class _AttentionGroup:
    """Consecutive attention probabilities, and the token tensors behind them, up to the next attention."""

    attention: list[AttentionProduct] = field(default_factory=list)
    behind: list[ir.Value] = field(default_factory=list)
    pools: bool = False  # whether it is the attention of a head that pools the tokens


def _attention_groups(
    context: MapContext, tokens: Mapping[ir.Value, TokenLayout], active: set[ir.Value], method: str, *, whole: bool
) -> Iterator[_AttentionGroup]:
    lengths = {y.shape[layout.token] for y, layout in tokens.items() if y.shape is not None}
    before, group = ancestors(context.target.value), _AttentionGroup()
    for node in list(context.op.graph):
        y = node.outputs[0]
        if y not in before or y not in active:
            continue
        found = _attention(context.op, node, active, method)
        if found is not None and whole and group.behind and _pools(node, found, group.attention[-1], active):
            yield group
            group = _AttentionGroup([found], pools=True)
        elif found is not None and not group.pools and _is_global(found.probabilities, lengths):
            if group.behind:
                yield group
                group = _AttentionGroup()
            group.attention.append(found)
        elif found is not None and whole:
            raise MethodError(
                f"{method} follows all tokens through the whole network, but the attention of {node.op_type} (node "
                f"{node.name!r}) has the shape {found.probabilities.shape}, as in windows or a decoder; use "
                "--method attnlrp"
            )
        elif y in tokens and group.attention and _is_whole(y, tokens[y], group.attention[-1].probabilities):
            group.behind.append(y)
    if group.attention:
        yield group


def _attention(op: Emitter, node: ir.Node, active: set[ir.Value], method: str) -> AttentionProduct | None:
    """Return the attention that *node* computes: a softmax that weights values of the image, or a fused operator."""
    if node.op_type == "Softmax":
        return AttentionProduct(node.outputs[0]) if _weights_values(node, active) else None
    if node.op_type not in _FUSED:
        return None
    if (node.domain, node.op_type) in STANDARD.compositions:
        nodes, (y, *_) = STANDARD.compositions.compose(op, node)
        inside = next((made.outputs[0] for made in nodes if made.op_type == "Softmax"), None)
        if inside is not None and y is not None:
            return AttentionProduct(inside, nodes, y, node.outputs[0])
    raise MethodError(
        f"{method} needs the attention probabilities, which {node.op_type} (node {node.name!r}) does not output; "
        "export the model with attention as separate operators (opset 22 or older; attn_implementation='eager' "
        "in transformers) and not optimised, or use --method gradcam"
    )


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


def _is_global(probabilities: ir.Value, lengths: Collection[Any]) -> bool:
    """Whether *probabilities* are [N, heads, T, T] or [N · heads, T, T]."""
    shape = probabilities.shape
    return shape is not None and len(shape) in (3, 4) and shape[-1] == shape[-2] and shape[-1] in lengths


def _pools(node: ir.Node, found: AttentionProduct, last: AttentionProduct, active: set[ir.Value]) -> bool:
    """Whether *found*, of *node*, has learnt queries, which see nothing of the image, and keys of the *last* one."""
    shape, own = found.probabilities.shape, last.probabilities.shape
    if shape is None or own is None or len(shape) not in (3, 4) or shape[-1] != own[-1]:
        return False
    scores = node if found.attended is not None else _scores(found.probabilities)
    return scores is not None and scores.inputs[0] not in active


def _is_whole(y: ir.Value, layout: TokenLayout, probabilities: ir.Value) -> bool:
    """Whether *y* holds all tokens that attend to each other, not a part of them, as a head may take."""
    return y.shape is not None and probabilities.shape is not None and y.shape[layout.token] == probabilities.shape[-1]


def _weights_values(node: ir.Node, active: set[ir.Value]) -> bool:
    """Whether the softmax *node* runs along the last axis and weights values of the image."""
    y = node.outputs[0]
    if y.shape is None or node.attributes.get_int("axis", -1) not in (-1, len(y.shape) - 1):
        return False
    return any(user.op_type == "MatMul" and user.inputs[1] in active for user in _users(y))


def _users(y: ir.Value) -> Iterator[ir.Node]:
    """Yield the operators that use *y* on the left, through casts and masks."""
    values = [y]
    while values:
        for user, position in values.pop().uses():
            if user.op_type in _BETWEEN:
                values.append(user.outputs[0])
            elif position == 0:
                yield user


def _is_residual(y: ir.Value, active: set[ir.Value]) -> bool:
    node = y.producer()
    return node is not None and node.op_type == "Add" and all(x in active for x in node.inputs)
