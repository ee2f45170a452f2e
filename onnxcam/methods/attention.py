"""Maps of transformers from their attention probabilities."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxcam.errors import MethodError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.subgraph import bodies, used_values
from onnxcam.methods.attention_blocks import (
    AttentionBlock,
    AttentionProduct,
    attention_blocks,
    pooled_blocks,
    probability_gradients,
)
from onnxcam.methods.base import method
from onnxcam.methods.context import MapContext
from onnxcam.methods.read_tokens import read_tokens
from onnxcam.structure.layer import ancestors
from onnxcam.structure.layout import TokenLayout

_TINY = 1e-9

__all__ = ["chefer", "grad_eclip", "legrad", "rollout"]


@method("legrad", at_layer=True, uses_layer=False, needs_attention=True)
def legrad(context: MapContext, first: int = 0) -> ir.Value:
    """M = mean over blocks l, heads h and rows i of ReLU(∂s^l / ∂A^l_hi), at the cells' columns.

    Bousselham et al., LeGrad: An Explainability Method for Vision Transformers via Feature Formation Sensitivity,
    2404.03214. A^l are the attention probabilities of block l, s^l is the score of the class that the network's head
    gives for the mean of the block's tokens, as in the authors' code: each token is replaced by that mean before the
    head. *first* is the index of the first block of the sum, from 0. The map has the size of the grid of patches.

    The model must be a transformer with global self-attention.

    Example:
        >>> onnxcam.explain("vit.onnx", "cat.jpg", method="legrad", settings={"first": 6})
    """
    _require_separate_sums(context)
    found = attention_blocks(context, "legrad", whole=False)
    if first >= len(found):
        raise MethodError(f"the setting first of legrad is below the number of blocks, {len(found)}, not {first}")
    maps = [_sensitivity(context, block, found[-1].output) for block in found[first:]]
    total = context.op.Div(context.op.total(*maps), float(len(maps)))
    total.shape = ir.Shape([None, *found[-1].layout.grid])
    return total


def _require_separate_sums(context: MapContext) -> None:
    """Raise MethodError where the end of a block is fused with the normalisation behind it."""
    before = ancestors(context.target.value)
    for node in context.op.graph:
        if node.op_type.startswith("Skip") and not before.isdisjoint(node.outputs):
            raise MethodError(
                f"legrad needs the ends of the blocks, which {node.op_type} (node {node.name!r}) fuses with a "
                "normalisation; export the model and do not optimise it, or use --method chefer"
            )


def _sensitivity(context: MapContext, block: AttentionBlock, last: ir.Value) -> ir.Value:
    """Return the mean of ReLU(∂s / ∂A) over heads and rows, at the cells: [N, *grid]."""
    op, layout = context.op, block.layout
    mean = op.Expand(op.ReduceMean(block.output, [layout.token], keepdims=1), op.Shape(block.output))
    mean.shape, mean.type = block.output.shape, block.output.type
    y = _head(context, last, mean)
    nodes = [*op.graph, *op.pending((), [y])]
    (g,) = probability_gradients(op, {y: context.target.seed}, [block.attention], nodes)
    return _at_cells(op, op.ReduceMean(_by_head(context, op.Relu(g)), [1, 2], keepdims=0), layout)


def _by_head(context: MapContext, a: ir.Value) -> ir.Value:
    """Return *a*, [N, heads, T, T] or [N · heads, T, T], as the former."""
    op = context.op
    if len(a.shape or ()) == 4:
        return a
    lengths = op.Concat(op.dim(context.image, 0), [-1], op.dim(a, 1), op.dim(a, 2), axis=0)
    split = op.Reshape(a, lengths)
    split.shape = None if a.shape is None else ir.Shape([None, None, *a.shape[1:]])
    return split


def _at_cells(op: Emitter, row: ir.Value, layout: TokenLayout) -> ir.Value:
    """Return *row*, a number for each token [N, T], at the cells: [N, *grid]."""
    found = op.Slice(row, [layout.offset], [layout.end], [1])
    if layout.order is not None:
        found = op.Gather(found, op.const(np.asarray(layout.order, np.int64)), axis=1)
    cells = op.Reshape(found, [-1, *layout.grid])
    cells.shape = ir.Shape([None, *layout.grid])
    return cells


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


@method("chefer", at_layer=True, uses_layer=False, needs_attention=True)
def chefer(context: MapContext) -> ir.Value:
    """R ← R + E R from R = 1, block by block, E = mean over heads of ReLU(∂y/∂A ⊙ A); the row of the class token.

    Chefer et al., Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers,
    2103.15679, for a network of self-attention. A are the attention probabilities of a block. If the head reads the
    mean of tokens in place of a class token, the map is the mean of their rows; if it pools them by an attention of its
    own (SigLIP), E of that attention is the row that R is multiplied by.

    The model must be a transformer with global self-attention.

    Example:
        >>> onnxcam.explain("vit.onnx", "cat.jpg", method="chefer")
    """
    op, (blocks, pool) = context.op, pooled_blocks(context, "chefer")
    products = [block.attention for block in blocks] + ([] if pool is None else [pool])
    gradients = probability_gradients(op, context.target.seeds, products)
    evidence = [
        op.ReduceMean(op.Relu(op.Mul(_by_head(context, a.probabilities), _by_head(context, g))), [1], keepdims=0)
        for a, g in zip(products, gradients, strict=True)
    ]
    relevance = _read_row(context, blocks[-1]) if pool is None else _mean_row(op, evidence.pop())
    for e in reversed(evidence):
        relevance = op.Add(relevance, op.MatMul(relevance, e))
    return _at_cells(op, op.Squeeze(relevance, [1]), blocks[-1].layout)


@method("rollout", at_layer=True, uses_layer=False, class_independent=True, needs_attention=True)
def rollout(context: MapContext) -> ir.Value:
    """Π (½ Ā + ½), Ā the mean of a block's attention over heads; the row of the class token, whatever the class.

    Abnar & Zuidema, Quantifying Attention Flow in Transformers, 2005.00928: attention rollout. It needs no gradient, so
    a baked file has no backward nodes. If the head reads the mean of tokens in place of a class token, the map is the
    mean of their rows; if it pools them by an attention of its own (SigLIP), that is the last factor.

    The model must be a transformer with global self-attention.

    Example:
        >>> onnxcam.explain("vit.onnx", "cat.jpg", method="rollout")
    """
    op, (blocks, pool) = context.op, pooled_blocks(context, "rollout")
    flow = _read_row(context, blocks[-1]) if pool is None else _mean_row(op, _mean_of_heads(context, pool))
    for block in reversed(blocks):
        flow = op.Mul(op.Add(flow, op.MatMul(flow, _mean_of_heads(context, block.attention))), 0.5)
    return _at_cells(op, op.Squeeze(flow, [1]), blocks[-1].layout)


@method(
    "grad-eclip",
    at_layer=True,
    uses_layer=False,
    needs_attention=True,
    caveat="grad-eclip reads the last block alone, which may speak against the target: then --set blocks=2 reads two, "
    "and --method chefer all",
)
def grad_eclip(context: MapContext, blocks: int = 1) -> ir.Value:
    """M_j = Σ ReLU(Σ_c λ_j ∂y/∂o_c v_jc) over the last blocks, λ_j the cosine of query and key j, scaled to [0, 1].

    Zhao et al., Gradient-based Visual Explanation for Transformer-based CLIP, ICML 2024; Grad-ECLIP, 2502.18816. o is
    the class token's output of a block's attention before its projection, v_j the value of token j, both with all
    heads. *blocks* is the number of blocks, from the last one. If the head reads several tokens, the map is the sum
    over their queries. Meant for the image towers of CLIP.

    The model must be a transformer with global self-attention.

    Example:
        >>> onnxcam.explain("clip.onnx", "cat.jpg", method="grad-eclip", target="like=dog.jpg")
    """
    op, found = context.op, attention_blocks(context, "grad-eclip")
    if blocks > len(found):
        raise MethodError(
            f"the setting blocks of grad-eclip is at most the number of blocks, {len(found)}, not {blocks}"
        )
    layout, chosen = found[-1].layout, found[-blocks:]
    read = op.const((read_tokens(context, found[-1]) > 0)[None, :, None], found[-1].probabilities.dtype)
    maps = []
    gradients = probability_gradients(op, context.target.seeds, [block.attention for block in chosen])
    for block, g in zip(chosen, gradients, strict=True):
        evidence = _over_heads(context, g)  # ∂y/∂A_ij of a head is its Σ_c ∂y/∂o_ic v_jc
        shares = op.Mul(op.Mul(_loosened(context, block), evidence), read)
        maps.append(context.positive(op.ReduceSum(shares, [1], keepdims=0)))
    return _at_cells(op, op.total(*maps), layout)


def _loosened(context: MapContext, block: AttentionBlock) -> ir.Value:
    """Return the cosine of each query and key, scaled so that the cells' lie between 0 and 1: [N, T, T]."""
    op, scores, layout = context.op, block.attention.scores(context.op), block.layout
    k = scores.inputs[1]
    assert k is not None
    lengths = op.Max(op.Sqrt(op.ReduceSum(_by_head(context, op.Mul(k, k)), [1, 2], keepdims=0)), _TINY)
    cosine = op.Div(_over_heads(context, scores.outputs[0]), op.Unsqueeze(lengths, [1]))  # |q| cancels below
    cells = op.Slice(cosine, [layout.offset], [layout.end], [2])
    low, high = op.ReduceMin(cells, [2], keepdims=1), op.ReduceMax(cells, [2], keepdims=1)
    return op.Div(op.Sub(cosine, low), op.Max(op.Sub(high, low), _TINY))


def _over_heads(context: MapContext, a: ir.Value) -> ir.Value:
    """Return the sum of *a* over heads, [N, T, T]."""
    return context.op.ReduceSum(_by_head(context, a), [1], keepdims=0)


def _mean_of_heads(context: MapContext, attention: AttentionProduct) -> ir.Value:
    """Return the mean of the attention probabilities over heads, [N, T, T]; of a pooling head [N, Q, T]."""
    return context.op.ReduceMean(_by_head(context, attention.probabilities), [1], keepdims=0)


def _mean_row(op: Emitter, rows: ir.Value) -> ir.Value:
    """Return the mean of *rows* [N, Q, T] over the queries of a pooling head, [N, 1, T]."""
    return op.ReduceMean(rows, [1], keepdims=1)


def _read_row(context: MapContext, last: AttentionBlock) -> ir.Value:
    """Return the weights of the tokens that the head reads, [1, 1, T]."""
    weights = read_tokens(context, last)
    return context.op.const(weights[None, None], last.probabilities.dtype)
