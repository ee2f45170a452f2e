"""What ONNX Runtime's optimiser writes in place of several standard operators (domain com.microsoft).

Each is spelt as what it computes. Where the last operator of a composition is newer than the model's opset, that is
no harm: it is never placed.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.infer import rank
from onnxcam.autodiff.rules import Gradients, V, rule
from onnxcam.autodiff.rules.compose import composed, copied, unsupported

WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@composed("FusedConv")
def fused_conv(op: Emitter, node: ir.Node, x: V, w: V, b: V | None = None, z: V | None = None) -> V:
    """y = f(Conv(x, w, b) + z)."""
    y = op.Conv(x, w, b, **copied(node, *WINDOW))
    return activated(op, node, y if z is None else op.Add(y, z), *node.attributes.get_floats("activation_params", ()))


@composed("FusedGemm")
def fused_gemm(op: Emitter, node: ir.Node, a: V, b: V, c: V | None = None) -> V:
    """y = f(Gemm(a, b, c))."""
    y = op.Gemm(a, b, c, **copied(node, "alpha", "beta", "transA", "transB"))
    params = [node.attributes.get_float(f"activation_{name}") for name in ("alpha", "beta", "gamma")]
    return activated(op, node, y, *[p for p in params if p is not None])


def activated(op: Emitter, node: ir.Node, x: V, *params: float) -> V:
    """Return the node's activation function of *x*."""
    name = node.attributes.get_string("activation", "") or ""
    if name == "":
        return x
    if name == "Clip":
        low, high = (float(p) for p in params)
        return op.Clamp(x, domain="onnxcam", low=low, high=high)
    if name not in ACTIVATIONS:
        raise unsupported(node, f"activation {name!r}")
    return op.emit(name, [x], attributes={k: float(p) for k, p in zip(ACTIVATIONS[name], params, strict=False)})


ACTIVATIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("HardSwish", "Relu", "Sigmoid", "Softplus", "Softsign", "Tanh"), ()),
    **dict.fromkeys(("Elu", "LeakyRelu", "ThresholdedRelu"), ("alpha",)),
    "HardSigmoid": ("alpha", "beta"),
}
"""Activation functions by the names of their parameters."""


@rule("Clamp", domain="onnxcam")
def clamp(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = min(max(x, low), high): dx = dy [low < y < high].

    It stands for the Clip in a fused operator, and is never placed. Its x is computed again, by another kernel, so
    that x = y could not be asked.
    """
    (y,) = node.outputs
    low, high = (float(node.attributes.get_float(name)) for name in ("low", "high"))
    return (op.mask(dy, op.And(op.Greater(y, low), op.Less(y, high))),)


@composed("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation")
def fused_matmul(op: Emitter, node: ir.Node, a: V, b: V) -> V:
    """y = f(α A B), A and B being a and b with axes exchanged."""
    y = op.MatMul(_operand(op, node, a, "A"), _operand(op, node, b, "B"))
    alpha = node.attributes.get_float("alpha", 1.0)
    y = y if alpha == 1 else op.Mul(y, float(alpha))
    params = [node.attributes.get_float(f"activation_{name}") for name in ("alpha", "beta")]
    return activated(op, node, y, *[p for p in params if p is not None])


def _operand(op: Emitter, node: ir.Node, x: V, side: str) -> V:
    """Return *x* with its first axis put before the last, if the batch is transposed, then the last two exchanged."""
    batch = node.attributes.get_int(f"transBatch{side}", 0)
    across = node.attributes.get_int(f"trans{side}", 0)
    if not (batch or across) or rank(x) < 2:
        return x
    axes = list(range(rank(x)))
    if batch:
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if across:
        axes[-2:] = axes[:-3:-1]
    return x if axes == sorted(axes) else op.Transpose(x, perm=axes)


@composed("Gelu", "FastGelu", "BiasGelu")
def gelu(op: Emitter, node: ir.Node, x: V, bias: V | None = None) -> V:
    """y = (x + bias) Φ(x + bias)."""
    x = x if bias is None else op.Add(x, bias)
    return op.Gelu(x, approximate="tanh") if node.op_type == "FastGelu" else op.Gelu(x)


@composed("QuickGelu")
def quick_gelu(op: Emitter, node: ir.Node, x: V) -> V:
    """y = x sigmoid(α x)."""
    return op.Swish(x, alpha=float(node.attributes.get_float("alpha", 1.702)))


@composed("BiasSoftmax")
def bias_softmax(op: Emitter, node: ir.Node, x: V, bias: V) -> V:
    """y = softmax(x + bias) over the axes from `axis` on."""
    axis, total = node.attributes.get_int("axis", 1), op.Add(x, bias)
    if axis % rank(x) == rank(x) - 1:
        return op.Softmax(total)
    flat = op.Softmax(op.Flatten(total, axis=axis))
    return op.Reshape(flat, op.Shape(x))


@composed("SkipLayerNormalization")
def skip_layer_normalization(
    op: Emitter, node: ir.Node, x: V, skip: V, scale: V, shift: V | None = None, bias: V | None = None
) -> tuple[V | None, ...]:
    """y = LayerNormalization(s) with s = x + skip + bias, which is the fourth output."""
    total = _skipped(op, x, skip, bias)
    epsilon = float(node.attributes.get_float("epsilon", 1e-12))
    return op.LayerNormalization(total, scale, shift, epsilon=epsilon), None, None, total


@composed("SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(
    op: Emitter, node: ir.Node, x: V, skip: V, scale: V, bias: V | None = None
) -> tuple[V | None, ...]:
    """y = RMSNormalization(s) with s = x + skip + bias, which is the fourth output."""
    total = _skipped(op, x, skip, bias)
    epsilon = float(node.attributes.get_float("epsilon", 1e-12))
    return op.RMSNormalization(total, scale, epsilon=epsilon), None, None, total


def _skipped(op: Emitter, x: V, skip: V, bias: V | None) -> V:
    total = op.Add(x, skip)
    return total if bias is None else op.Add(total, bias)


@composed("EmbedLayerNormalization")
def embed_layer_normalization(
    op: Emitter,
    node: ir.Node,
    words: V,
    segments: V | None,
    word_table: V,
    place_table: V,
    segment_table: V | None,
    scale: V,
    shift: V,
    mask: V | None = None,
    places: V | None = None,
) -> tuple[V | None, ...]:
    """y = LayerNormalization(s), s the sum of the embeddings of words, places and segments: the third output."""
    if places is None:
        places = op.Range(0, op.Squeeze(op.dim(words, 1), [0]), 1)
    total = op.Add(op.Gather(word_table, words), op.Gather(place_table, places))
    if segments is not None and segment_table is not None:
        total = op.Add(total, op.Gather(segment_table, segments))
    epsilon = float(node.attributes.get_float("epsilon", 1e-12))
    return op.LayerNormalization(total, scale, shift, epsilon=epsilon), None, total


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
) -> V:
    """Self-attention with one matrix for queries, keys and values: q, k, v = x w + b."""
    if past is not None or node.attributes.get_int("do_rotary", 0) != 0:
        raise unsupported(node, "a past or rotary positions")
    joint = op.MatMul(x, w)
    joint = joint if b is None else op.Add(joint, b)
    heads = node.attributes.get_int("num_heads")
    sizes = node.attributes.get_ints("qkv_hidden_sizes", ()) or [int(w.shape[-1]) // 3] * 3  # type: ignore[index,arg-type]
    q, k, v = op.Split(joint, list(sizes), axis=-1, outputs=3)
    return _attended(op, node, [_heads(op, part, heads) for part in (q, k, v)], mask, bias)


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
    *past: V | None,
) -> V:
    """Attention of queries to keys and values, each [N, L, C]; keys and values may come in heads, [N, heads, L, C]."""
    if k is None or v is None or any(x is not None for x in past):
        raise unsupported(node, "packed queries, keys and values, or a past")
    heads = node.attributes.get_int("num_heads")
    parts = [x if rank(x) == 4 else _heads(op, x, heads) for x in (q, k, v)]
    if b is not None:
        widths = [int(x.shape[-1]) * (heads if rank(x) == 4 else 1) for x in (q, k, v)]  # type: ignore[index,arg-type]
        shifts = [op.Reshape(own, [1, heads, 1, -1]) for own in op.Split(b, widths, axis=0, outputs=3)]
        parts = [op.Add(x, own) for x, own in zip(parts, shifts, strict=True)]
    return _attended(op, node, parts, mask, bias)


def _heads(op: Emitter, x: V, heads: int) -> V:
    """Return *x*, [N, L, C], as [N, heads, L, C / heads]."""
    return op.Transpose(op.Reshape(x, [0, 0, heads, -1]), perm=[0, 2, 1, 3])


def _attended(op: Emitter, node: ir.Node, parts: list[V], mask: V | None, bias: V | None) -> V:
    q, k, v = parts
    given = node.attributes.get_float("scale", 0.0)
    wide = op.Cast(op.dim(q, -1), to=int(q.dtype or ir.DataType.FLOAT))
    scores = op.MatMul(q, op.Transpose(k, perm=[0, 1, 3, 2]))
    scores = op.Mul(scores, float(given)) if given else op.Div(scores, op.Sqrt(wide))
    low = float(node.attributes.get_float("mask_filter_value", -10000.0))
    if mask is not None:
        if rank(mask) != 2:
            raise unsupported(node, f"a mask of {rank(mask)} axes")
        off = op.Sub(1.0, op.Cast(op.Unsqueeze(mask, [1, 2]), to=int(q.dtype or ir.DataType.FLOAT)))
        scores = op.Add(scores, op.Mul(off, op.const(low, q.dtype)))
    if bias is not None:
        scores = op.Add(scores, bias)
    if node.attributes.get_int("unidirectional", 0):
        later = op.Trilu(op.full_like(scores, 1.0), 1, upper=1)
        scores = op.Add(scores, op.Mul(later, op.const(low, q.dtype)))
    y = op.Transpose(op.MatMul(op.Softmax(scores), v), perm=[0, 2, 1, 3])
    return op.Reshape(y, [0, 0, -1])
