"""Operators by which ONNX Runtime's optimiser fuses several standard ones (domain com.microsoft).

Each rule is a composition. Its last operator may be newer than the model's opset, as it is never placed.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.rules.compose import WINDOW, channels_back, channels_first, composed, copied, unsupported
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype, rank


@composed("FusedConv", "NhwcConv", "NhwcFusedConv")
def fused_conv(op: Emitter, node: ir.Node, x: V, w: V, b: V | None = None, z: V | None = None) -> V:
    """y = f(Conv(x, w, b) + z); channels may be last, except those of the kernel."""
    last = int(node.op_type.startswith("Nhwc"))
    y = channels_back(op, op.Conv(channels_first(op, x, last), w, b, **copied(node, *WINDOW)), rank(x), last)
    return activated(op, node, y if z is None else op.Add(y, z), *node.attributes.get_floats("activation_params", ()))


@composed("FusedGemm")
def fused_gemm(op: Emitter, node: ir.Node, a: V, b: V, c: V | None = None) -> V:
    """y = f(Gemm(a, b, c))."""
    y = op.Gemm(a, b, c, **copied(node, "alpha", "beta", "transA", "transB"))
    params = [node.attributes.get_float(f"activation_{name}") for name in ("alpha", "beta", "gamma")]
    return activated(op, node, y, *[p for p in params if p is not None])


def activated(op: Emitter, node: ir.Node, x: V, *params: float) -> V:
    """Return the activation function of *node* at *x*."""
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
"""The activation functions, with the names of their parameters."""


@rule("Clamp", domain="onnxcam")
def clamp(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = min(max(x, low), high): dx = dy [low < y < high].

    It represents the Clip of a fused operator, and is never placed. Another kernel computes its x again, so that a
    comparison of x with y would not be exact.
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
    """Return *x* with its first axis moved before the last if the batch is transposed, then the last two exchanged."""
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


@composed("GemmFastGelu")
def gemm_fast_gelu(op: Emitter, node: ir.Node, x: V, w: V, bias: V | None = None) -> V:
    """y = z Φ(z), about, with z = x w + bias."""
    z = op.MatMul(x, w)
    return op.Gelu(z if bias is None else op.Add(z, bias), approximate="tanh")


@composed("BiasSplitGelu")
def bias_split_gelu(op: Emitter, node: ir.Node, x: V, bias: V) -> V:
    """y = a b Φ(b), with a and b the halves of x + bias."""
    a, b = op.Split(op.Add(x, bias), axis=-1, num_outputs=2, outputs=2)
    phi = op.Mul(op.Add(op.Erf(op.Mul(b, math.sqrt(0.5))), 1.0), 0.5)
    return op.Mul(a, op.Mul(b, phi))


@composed("BiasAdd")
def bias_add(op: Emitter, node: ir.Node, x: V, bias: V, skip: V) -> V:
    """y = x + bias + skip."""
    return op.Add(op.Add(x, bias), skip)


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


@composed("GroupNorm")
def group_norm(op: Emitter, node: ir.Node, x: V, scale: V, shift: V) -> V:
    """y = f(scale (x - mean) / √(var + ε) + shift), mean and variance of each group of channels; f may be SiLU."""
    last = node.attributes.get_int("channels_last", 1)
    groups, epsilon = node.attributes.get_int("groups"), float(node.attributes.get_float("epsilon", 1e-5))
    image = channels_first(op, x, last)
    flat = op.Reshape(image, [0, groups, -1])
    ones, zeros = (op.const(np.full(groups, fill), x.dtype) for fill in (1, 0))
    y = op.Reshape(op.InstanceNormalization(flat, ones, zeros, epsilon=epsilon), op.Shape(image))
    dtype, behind = int(gradient_dtype(x)), list(range(1, rank(x) - 1))
    scale, shift = (op.Unsqueeze(op.Cast(w, to=dtype), behind) for w in (scale, shift))
    y = op.Add(op.Mul(y, scale), shift)
    y = op.Mul(y, op.Sigmoid(y)) if node.attributes.get_int("activation", 0) else y
    return channels_back(op, y, rank(x), last)


@composed("SkipGroupNorm")
def skip_group_norm(
    op: Emitter, node: ir.Node, x: V, scale: V, shift: V, skip: V, bias: V | None = None
) -> tuple[V, V]:
    """GroupNorm of s = x + skip + bias, and s; skip may be one number for each channel."""
    last = node.attributes.get_int("channels_last", 1)
    if rank(skip) == 2:
        skip = op.Unsqueeze(skip, [1, 2] if last else [2, 3])
    if bias is not None and not last:
        bias = op.Unsqueeze(bias, [1, 2])
    total = _skipped(op, x, skip, bias)
    total.shape, total.type = x.shape, x.type
    return group_norm(op, node, total, scale, shift), total


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
    """y = LayerNormalization(s), s the sum of word, position and segment embeddings, the third output."""
    if places is None:
        places = op.Range(0, op.Squeeze(op.dim(words, 1), [0]), 1)
    total = op.Add(op.Gather(word_table, words), op.Gather(place_table, places))
    if segments is not None and segment_table is not None:
        total = op.Add(total, op.Gather(segment_table, segments))
    epsilon = float(node.attributes.get_float("epsilon", 1e-12))
    return op.LayerNormalization(total, scale, shift, epsilon=epsilon), None, total
