"""Maps of the words of a vision-language decoder, from its attention to the tokens of the image."""

from __future__ import annotations

from math import sqrt

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import backward, connected, dependents
from onnxcam.autodiff.rulesets import past_rounding
from onnxcam.errors import MethodError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.graph.subgraph import used_values
from onnxcam.metadata.prompting import IMAGE_EMBEDDINGS, IMAGE_PLACES, PROMPT, TEXT_TOKENS
from onnxcam.methods.base import method
from onnxcam.methods.context import MapContext
from onnxcam.structure.layer import ancestors

__all__ = ["attention_x_gradient"]

_FUSED = frozenset(("Attention", "MultiHeadAttention", "GroupQueryAttention"))
"""Operators that compute attention without an output for its probabilities."""


@method("attention-x-gradient", at_layer=True, uses_layer=False, needs_words=True)
def attention_x_gradient(context: MapContext) -> ir.Value:
    """M = Σ over layers l and rows i of mean over heads h of ReLU(A ⊙ ∂s / ∂A)^l_hi, at the tokens of the image.

    Chefer, Gur and Wolf, Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers, 2103.15679, equation 5, of the rows alone that say the word: A are the attention probabilities of the
    decoder, i the places before the tokens of the word, s is its log-probability. The paper also multiplies the layers;
    without, maps of words point better (docs/decisions/0035-decoders.md). The map has the size of the grid of the
    image's tokens.

    The model must be a joined decoder, exported with Softmax as a separate node.

    Example:
        >>> model = onnxcam.decoders.load.join("llava")
        >>> onnxcam.explain(model, "cat.jpg", target='text="a cat" at=1', method="attention-x-gradient")
    """
    op, tensors = context.op, all_tensors(context.op.graph)
    places, embeddings = tensors.get(IMAGE_PLACES), tensors.get(IMAGE_EMBEDDINGS)
    if places is None or embeddings is None:
        raise MethodError(
            "attention-x-gradient explains the words of a vision-language decoder, and the model is none "
            "(docs/decoders.md); use --method gradcam"
        )
    height, width = _grid(context, embeddings)
    seeds = context.target.seeds
    table = past_rounding(STANDARD, seeds)
    attentions = _attentions(context, tensors[PROMPT])
    gradients = backward(op, seeds, attentions, table)
    start = op.Sub(op.dim(tensors[PROMPT], 1), 1)
    ends = op.Add(start, op.dim(tensors[TEXT_TOKENS], 1))
    said = op.Cast(op.Cast(context.target.seed, to=int(ir.DataType.BOOL)), to=int(ir.DataType.FLOAT))
    rows = [
        _rows(op, op.Slice(op.Mul(a, connected(a, da, seeds, table)), start, ends, [2]))
        for a, da in zip(attentions, gradients, strict=True)
    ]
    columns = op.ReduceSum(op.Mul(op.total(*rows), op.Unsqueeze(said, [2])), [1], keepdims=0)
    found = op.Reshape(op.Compress(columns, op.Reshape(places, [-1]), axis=1), [1, height, width])
    found.shape = ir.Shape([1, height, width])
    return found


def _rows(op: Emitter, products: ir.Value) -> ir.Value:
    """Return the mean over heads of the positive part of *products* [1, heads, T, L], float32 [1, T, L]."""
    return op.ReduceMean(op.Relu(op.Cast(products, to=int(ir.DataType.FLOAT))), [1], keepdims=0)


def _grid(context: MapContext, embeddings: ir.Value) -> tuple[int, int]:
    """Return the rows and columns of the image's tokens, row by row, of the proportions of the image."""
    count = embeddings.shape[0] if embeddings.shape is not None else None
    sizes = context.image_layout.size(context.image)
    if isinstance(count, int) and all(isinstance(length, int) for length in sizes):
        height = round(sqrt(count * int(sizes[0]) / int(sizes[1])))
        if height and count % height == 0:
            return height, count // height
    raise MethodError(
        f"the {count} tokens of the image make no grid of its proportions, {sizes[0]} × {sizes[1]}; "
        "use --method attnlrp"
    )


def _attentions(context: MapContext, prompt: ir.Value) -> list[ir.Value]:
    """Return the attention probabilities [1, heads, L, L] of the decoder; MethodError where there are none."""
    active, before = dependents(context.op.graph, [context.image], STANDARD), ancestors(context.target.value)
    worded, found = {prompt}, list[ir.Value]()
    for node in context.op.graph:
        if worded.isdisjoint(used_values(node)):
            continue
        worded.update(node.outputs)
        y = node.outputs[0]
        if node.op_type in _FUSED and y in active:
            raise MethodError(
                f"attention-x-gradient needs the attention probabilities, which {node.op_type} (node {node.name!r}) "
                "does not output; export the decoder with attn_implementation='eager', or use --method attnlrp"
            )
        if node.op_type == "Softmax" and y in active and y in before and len(y.shape or ()) == 4:
            found.append(y)
    if not found:
        raise MethodError(
            "attention-x-gradient finds no attention probabilities in the decoder, a Softmax of [N, heads, L, L]; "
            "use --method attnlrp"
        )
    return found
