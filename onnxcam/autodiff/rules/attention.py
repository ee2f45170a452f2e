"""Attention operators of ONNX Runtime (domain com.microsoft), composed of products and Softmax.

q, k and v are [N, heads, L, C]. A mask is true for visible keys and broadcasts to [N, heads, L, T].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.rules.compose import composed, length, unsupported
from onnxcam.autodiff.rules.quantized import dequantize
from onnxcam.autodiff.table import V
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype, rank
from onnxcam.graph.ranges import code_range

LATER = "a buffer that past and present share, rotary positions, or beams"


@composed("Attention")
def attention(
    op: Emitter,
    node: ir.Node,
    x: V,
    w: V,
    b: V | None = None,
    mask: V | None = None,
    past: V | None = None,
    bias: V | None = None,
    *more: V | None,
) -> tuple[V, V]:
    """Self-attention with one matrix, q, k, v = x w + b; returns y, the present keys and the present values."""
    joint = op.MatMul(x, w)
    joint = joint if b is None else op.Add(joint, b)
    _refuse(node, LATER, *more, node.attributes.get_int("past_present_share_buffer", 0))
    _refuse(node, LATER, node.attributes.get_int("do_rotary", 0))
    heads = node.attributes.get_int("num_heads")
    sizes = node.attributes.get_ints("qkv_hidden_sizes", ()) or [length(w, -1) // 3] * 3
    q, k, v = (_heads(op, part, heads) for part in op.Split(joint, list(sizes), axis=-1, outputs=3))
    if past is not None:
        k, v = (op.Concat(op.Gather(past, i), own, axis=2) for i, own in enumerate((k, v)))
    present = op.Concat(op.Unsqueeze(k, [0]), op.Unsqueeze(v, [0]), axis=0)
    return _attended(op, node, q, k, v, _masks(op, node, mask, q, k), bias), present


@composed("QAttention")
def qattention(
    op: Emitter,
    node: ir.Node,
    x: V,
    w: V,
    b: V,
    sx: V,
    sw: V,
    mask: V | None = None,
    zx: V | None = None,
    zw: V | None = None,
    past: V | None = None,
) -> tuple[V, V]:
    """Attention of integers x and w."""
    return attention(op, node, dequantize(op, x, sx, zx), dequantize(op, w, sw, zw, axis=-1), b, mask, past)


@composed("MultiHeadAttention")
def multi_head_attention(
    op: Emitter,
    node: ir.Node,
    q: V,
    k: V | None = None,
    v: V | None = None,
    b: V | None = None,
    mask: V | None = None,
    bias: V | None = None,
    past_k: V | None = None,
    past_v: V | None = None,
    *more: V | None,
) -> tuple[V, V, V]:
    """Attention of queries to keys and values; returns y, the present keys and the present values.

    Inputs are [N, L, C] each; packed as [N, L, heads, 3, C]; keys and values packed as [N, L, heads, 2, C]; or keys and
    values already split into heads.
    """
    _refuse(node, LATER, *more)
    heads = node.attributes.get_int("num_heads")
    parts: list[V] = []
    for x in (q, k, v):
        if x is not None and rank(x) == 5:
            each = op.Split(x, axis=3, num_outputs=length(x, 3), outputs=length(x, 3))
            parts += [op.Transpose(op.Squeeze(part, [3]), perm=[0, 2, 1, 3]) for part in each]
        elif x is not None:
            parts.append(x if rank(x) == 4 else _heads(op, x, heads))
    if b is not None:
        parts = _biased(op, parts, b, heads, [x for x in (q, k, v) if x is not None])
    q, k, v = parts
    if past_k is not None and past_v is not None:
        k, v = op.Concat(past_k, k, axis=2), op.Concat(past_v, v, axis=2)
    return _attended(op, node, q, k, v, _masks(op, node, mask, q, k), bias), k, v


@composed("DecoderMaskedMultiHeadAttention")
def decoder_masked_multi_head_attention(
    op: Emitter,
    node: ir.Node,
    q: V,
    k: V | None = None,
    v: V | None = None,
    mask: V | None = None,
    bias: V | None = None,
    *past: V | None,
) -> tuple[V, V, V]:
    """MultiHeadAttention of one query to keys and values that are split into heads."""
    b = past[5] if len(past) > 5 else None
    _refuse(node, LATER, *past[:5])
    return multi_head_attention(op, node, q, k, v, b, mask, bias)


def _biased(op: Emitter, parts: Sequence[V], b: V, heads: int, given: Sequence[V]) -> list[V]:
    """Return *parts* plus their parts of *b*, except those that were split into heads, which include it."""
    widths = [length(x, -1) * (heads if rank(x) > 3 else 1) for x in given for _ in range(_packed(x))]
    plain = [rank(x) != 4 for x in given for _ in range(_packed(x))]
    shares = op.Split(b, widths, axis=0, outputs=3)
    return [
        op.Add(x, op.Reshape(share, [1, heads, 1, -1])) if added else x
        for x, share, added in zip(parts, shares, plain, strict=True)
    ]


def _packed(x: V) -> int:
    return length(x, 3) if rank(x) == 5 else 1


def _heads(op: Emitter, x: V, heads: int) -> V:
    """Return *x*, [N, L, C], as [N, heads, L, C / heads]."""
    return op.Transpose(op.Reshape(x, [0, 0, heads, -1]), perm=[0, 2, 1, 3])


def _refuse(node: ir.Node, what: str, *given: object) -> None:
    if any(x is not None and x != 0 for x in given):
        raise unsupported(node, what)


def _masks(op: Emitter, node: ir.Node, mask: V | None, q: V, k: V) -> list[V]:
    """Return the mask of visible keys: the operator's *mask*, joined with the causal mask if it is causal."""
    found = [] if mask is None else [_visible(op, node, mask, q, k)]
    if node.attributes.get_int("unidirectional", 0):
        places = op.Unsqueeze(op.Add(_range(op, q), op.Sub(op.dim(k, 2), op.dim(q, 2))), [1])
        found.append(op.LessOrEqual(_range(op, k), places))
    return found


def _visible(op: Emitter, node: ir.Node, mask: V, q: V, k: V) -> V:
    """Return the visible keys by a mask [N, T] or [N, L, T], or by the ends, and starts, of each sequence."""
    if rank(mask) in (2, 3):
        return op.Greater(op.Unsqueeze(mask, [1, 2] if rank(mask) == 2 else [1]), op.const(0, mask.dtype))
    if rank(mask) != 1:
        raise unsupported(node, f"a mask of {rank(mask)} axes")
    length, batch = (None if x is None or x.shape is None else x.shape[0] for x in (mask, node.inputs[0]))
    if isinstance(length, int) and isinstance(batch, int) and length not in (batch, 2 * batch):
        raise unsupported(node, f"a mask of {length} numbers for a batch of {batch}")
    n = op.dim(q, 0)
    padded = op.Concat(op.Cast(mask, to=int(ir.DataType.INT64)), op.Expand(0, n), axis=0)
    end, start = (op.Slice(padded, *ends, [0]) for ends in (([0], n), (n, op.Add(n, n))))
    end, start, places = op.Unsqueeze(end, [1, 2, 3]), op.Unsqueeze(start, [1, 2, 3]), _range(op, k)
    return op.And(op.Less(places, end), op.GreaterOrEqual(places, start))


def _range(op: Emitter, x: V) -> V:
    """Return the positions of *x*: 0, 1, … L - 1."""
    return op.Range(0, op.Squeeze(op.dim(x, 2), [0]), 1)


def _attended(
    op: Emitter,
    node: ir.Node,
    q: V,
    k: V,
    v: V,
    masks: Sequence[V] = (),
    bias: V | None = None,
    low: float | None = None,
    sink: V | None = None,
) -> V:
    """Return softmax(q kᵀ / √C + bias) v as [N, L, C]; *sink* is one more score, [1, heads, 1, 1], with value zero."""
    dtype = gradient_dtype(q)
    given, cap = node.attributes.get_float("scale", 0.0), node.attributes.get_float("softcap", 0.0)
    scores = op.MatMul(q, op.Transpose(k, perm=[0, 1, 3, 2]))
    scores = op.Mul(scores, float(given)) if given else op.Div(scores, op.Sqrt(op.Cast(op.dim(q, -1), to=int(dtype))))
    if cap:
        scores = op.Mul(op.Tanh(op.Div(scores, float(cap))), float(cap))
    low = float(node.attributes.get_float("mask_filter_value", -10000.0)) if low is None else low
    for mask in masks:
        scores = op.Add(scores, op.Where(mask, 0.0, op.const(low, dtype)))
    if bias is not None:
        scores = op.Add(scores, bias)
    if sink is None:
        weights = op.Softmax(scores)
    else:
        lengths = op.Concat(op.Shape(scores, end=3), [1], axis=0)
        weights = op.Softmax(op.Concat(scores, op.Expand(sink, lengths), axis=-1))
        weights = op.Slice(weights, [0], [-1], [3])
    return op.Reshape(op.Transpose(op.MatMul(weights, v), perm=[0, 2, 1, 3]), [0, 0, -1])


@composed("GroupQueryAttention")
def group_query_attention(
    op: Emitter,
    node: ir.Node,
    q: V,
    k: V | None,
    v: V | None,
    past_k: V | None,
    past_v: V | None,
    lasts: V,
    total: V,
    cos: V | None = None,
    sin: V | None = None,
    positions: V | None = None,
    bias: V | None = None,
    sink: V | None = None,
    *more: V | None,
) -> tuple[V, V, V]:
    """Causal attention in which several heads of queries share one head of keys and values.

    A sequence has *lasts* + 1 tokens; the newest are those of q, the others are in the past. Return y, the present keys
    and the present values.
    """
    get = node.attributes.get_int
    _refuse(node, "a quantised cache, or norms of queries and keys", *more)
    _refuse(node, "a cache of a window", get("sliding_window_cache", 0))
    heads, groups = get("num_heads"), get("kv_num_heads")
    if k is None or v is None:
        size = length(q, -1) // (heads + 2 * groups)
        q, k, v = op.Split(q, [heads * size, groups * size, groups * size], axis=-1, outputs=3)
    q, k, v = _heads(op, q, heads), _heads(op, k, groups), _heads(op, v, groups)
    tokens = op.Reshape(op.Add(op.Cast(lasts, to=int(ir.DataType.INT64)), 1), [-1, 1])
    before = op.Max(op.Sub(tokens, op.dim(q, 2)), 0)  # [N, 1]; a first prompt may be padded
    places = op.Add(before, op.Unsqueeze(_range(op, q), [0]))  # [N, L]
    if get("do_rotary", 0) and cos is not None and sin is not None:
        at = places if positions is None else positions
        q, k = (rotated(op, x, at, cos, sin, bool(get("rotary_interleaved", 0))) for x in (q, k))
    if past_k is not None and past_v is not None:
        k, v = (_appended(op, *pair, before, total) for pair in ((past_k, k), (past_v, v)))
    present, places = (k, v), op.Unsqueeze(places, [1, 3])
    masks = [op.LessOrEqual(_range(op, k), places)] if get("causal", 1) else []
    window = get("local_window_size", -1)
    if window > 0:
        masks.append(op.Greater(_range(op, k), op.Sub(places, window)))
    if groups < heads:
        each = op.const(np.arange(heads) // (heads // groups))
        k, v = op.Gather(k, each, axis=1), op.Gather(v, each, axis=1)
    low = code_range(gradient_dtype(q))[0] / 4
    if get("smooth_softmax", 0) and sink is None:
        sink = op.const(np.zeros(heads), gradient_dtype(q))
    if sink is not None:
        sink = op.Reshape(sink, [1, heads, 1, 1])
    return _attended(op, node, q, k, v, masks, bias, low, sink), *present


def _appended(op: Emitter, past: V, new: V, before: V, total: V) -> V:
    """Return *total* tokens: the first *before* tokens of *past*, the *new* ones, and zeros."""
    total = op.Reshape(op.Cast(total, to=int(ir.DataType.INT64)), [1])
    places = op.Unsqueeze(op.Range(0, op.Squeeze(total, [0]), 1), [0])
    length_of_past, count = op.dim(past, 2), op.dim(new, 2)
    fresh = op.Min(op.Sub(places, before), op.Sub(count, 1))
    where = op.Where(op.Less(places, before), places, op.Add(fresh, length_of_past))
    lengths = op.Concat(op.Shape(new, end=2), total, op.Shape(new, start=3), axis=0)
    tokens = op.GatherElements(op.Concat(past, new, axis=2), op.Expand(op.Unsqueeze(where, [1, 3]), lengths), axis=2)
    return op.mask(tokens, op.Unsqueeze(op.Less(places, op.Add(before, count)), [1, 3]))


@composed("RotaryEmbedding")
def rotary_embedding(op: Emitter, node: ir.Node, x: V, positions: V, cos: V, sin: V) -> V:
    """Rotary embedding: rotate pairs of channels by angles proportional to the position."""
    get = node.attributes.get_int
    _refuse(node, "packed batches", get("is_packed_batching", 0))
    flat = rank(x) == 3
    heads = get("num_heads", 0) or length(x, -1) // (2 * length(cos, 1))
    parts = _heads(op, x, heads) if flat else x
    at = positions if rank(positions) == 2 else op.Unsqueeze(op.Add(positions, _range(op, parts)), [0])
    y = rotated(op, parts, at, cos, sin, bool(get("interleaved", 0)))
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), [0, 0, -1]) if flat else y


def rotated(op: Emitter, x: V, positions: V, cos: V, sin: V, interleaved: bool) -> V:
    """Return *x*, [N, heads, L, C], with its first channels rotated by the angles at *positions*, [N or 1, L]."""
    half = length(cos, 1)
    turned = op.Slice(x, [0], [2 * half], [3])
    rest = op.Slice(x, [2 * half], [np.iinfo(np.int64).max], [3])
    c, s = (op.Unsqueeze(op.Gather(table, positions), [1]) for table in (cos, sin))
    if interleaved:
        a, b = (op.Slice(turned, [i], [2 * half], [3], [2]) for i in (0, 1))
    else:
        a, b = op.Split(turned, num_outputs=2, axis=3, outputs=2)
    pair = [op.Sub(op.Mul(a, c), op.Mul(b, s)), op.Add(op.Mul(b, c), op.Mul(a, s))]
    if interleaved:
        pair = [op.Reshape(op.Concat(*(op.Unsqueeze(part, [4]) for part in pair), axis=4), op.Shape(turned))]
    return op.Concat(*pair, rest, axis=3)
