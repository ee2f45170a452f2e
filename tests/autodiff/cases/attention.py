"""Cases for onnxcam.autodiff.rules.attention: batches of 2, sequences of 3, 2 heads of 4 channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.autodiff.cases import ints, normal, uniform
from tests.autodiff.cases.on_runtime import RuntimeCase, microsoft
from tests.autodiff.cases.quantized import Quantised, f32, fq, i8, integers, quantised, u8

TOKENS = normal(2, 3, 8)
SELF = {"x": TOKENS, "w": normal(8, 24), "b": normal(24)}
PAST = {"mask": None, "past": normal(2, 2, 2, 4, 4)}
CROSS = {"q": TOKENS, "k": normal(2, 5, 8), "v": normal(2, 5, 8, seed=1)}
HEADS = {"q": TOKENS, "k": normal(2, 2, 5, 4), "v": normal(2, 2, 5, 4, seed=1)}
OWN = {"q": TOKENS, "k": normal(2, 3, 8), "v": TOKENS}
CACHE = {
    "b": None,
    "mask": None,
    "bias": None,
    "past_k": normal(2, 2, 4, 4, seed=2),
    "past_v": normal(2, 2, 4, 4, seed=3),
}


def i32(values: Any) -> np.ndarray:
    return np.asarray(values, np.int32)


MASK = i32([[1, 1, 0], [1, 1, 1]])
CUBE = i32([[[1, 0, 0], [1, 1, 0], [1, 1, 1]], [[1, 1, 1], [0, 1, 1], [1, 0, 1]]])


def own(name: str, inputs: dict[str, Any], **options: Any) -> RuntimeCase:
    """Self-attention with one matrix for all, whose shape is known."""
    return microsoft("Attention", name, {**SELF, **inputs}, fixed=("w",), **{"num_heads": 2, **options})


def multi(name: str, inputs: dict[str, Any], **options: Any) -> RuntimeCase:
    return microsoft("MultiHeadAttention", name, inputs, **{"num_heads": 2, **options})


def grouped(name: str, inputs: dict[str, Any], **options: Any) -> RuntimeCase:
    """Four heads of queries, two of keys and values, of 16 channels, as the operator asks for."""
    settings = {"num_heads": 4, "kv_num_heads": 2, **options}
    return microsoft("GroupQueryAttention", name, inputs, fixed=tuple(inputs), **settings)


GROUPED = {
    "q": normal(2, 3, 64),
    "k": normal(2, 3, 32),
    "v": normal(2, 3, 32, seed=1),
    "past_k": None,
    "past_v": None,
    "lasts": i32([2, 2]),
    "total": i32(3),
}
TURNS = {"cos": uniform(6, 8, low=-1), "sin": uniform(6, 8, low=-1, seed=1)}
LONGER = {
    **GROUPED,
    "q": normal(2, 1, 64),
    "k": normal(2, 1, 32),
    "v": normal(2, 1, 32, seed=1),
    "past_k": normal(2, 2, 4, 16),
    "past_v": normal(2, 2, 4, 16, seed=1),
    "lasts": i32([4, 3]),
    "total": i32(5),
}
CODES = integers(8, 24, low=-60, high=60)


def qattention(x: Any) -> Any:
    """What a float attention makes of the dequantised operands."""
    import torch

    joint = fq(x, 0.02, 120) @ torch.from_numpy((CODES.astype(np.float32) - 3) * np.float32(0.01))
    joint = joint + torch.from_numpy(SELF["b"])
    q, k, v = joint.reshape(2, 3, 3, 2, 4).permute(2, 0, 3, 1, 4)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 3, 8)


CASES: list[RuntimeCase | Quantised] = [
    own("plain", {}),
    own("no-bias", {"b": None}),
    own("causal", {}, unidirectional=1, scale=0.3),
    own("mask", {"mask": MASK}, num_heads=4),
    own("mask-of-pairs", {"mask": CUBE}),
    own("ends", {"mask": i32([2, 3])}),
    own("ends-and-starts", {"mask": i32([3, 2, 1, 0])}),
    own("bias", {"mask": None, "past": None, "bias": normal(1, 2, 3, 3)}),
    own("past", PAST, outputs=2),
    own("past-causal-mask", {**PAST, "mask": i32([[0, 1, 1, 1, 1, 1, 1], [1] * 6 + [0]])}, outputs=2, unidirectional=1),
    own("widths", {"w": normal(8, 20), "b": normal(20)}, qkv_hidden_sizes=[8, 8, 4]),
    quantised(
        "QAttention",
        "plain",
        "q = QuantizeLinear (x, S, Z) y = com.microsoft.QAttention <num_heads=2> (q, W, B, S, V, , Z, Y)",
        qattention,
        {"x": TOKENS, "S": f32(0.02), "Z": u8(120), "W": CODES, "B": SELF["b"], "V": f32(0.01), "Y": i8(3)},
        step=1e-4,
    ),
    multi("plain", CROSS),
    multi("in-heads", HEADS),
    multi("bias", {**CROSS, "b": normal(24), "mask": None, "bias": normal(2, 2, 3, 5)}, scale=0.4, fixed=tuple("qkv")),
    multi("bias-in-heads", {**HEADS, "b": normal(24)}, fixed=tuple("qkv")),
    multi("mask", {**CROSS, "b": None, "mask": i32([[1, 1, 0, 1, 1], [1, 1, 1, 1, 0]])}),
    multi("ends", {**CROSS, "b": None, "mask": i32([2, 5])}),
    multi(
        "past",
        {**OWN, **CACHE},
        outputs=3,
    ),
    multi(
        "packed",
        {"q": normal(2, 3, 2, 3, 4)},
        fixed=("q",),
        body="MultiHeadAttention (q) => (y) { a, b, c = Split <axis=3, num_outputs=3> (q)"
        "n = Constant <value_ints=[0,0,8]> () d = Reshape (a, n) e = Reshape (b, n) f = Reshape (c, n)"
        "y = com.microsoft.MultiHeadAttention <num_heads=2> (d, e, f) }",
    ),
    multi(
        "packed-keys",
        {"q": TOKENS, "k": normal(2, 5, 2, 2, 4)},
        fixed=("k",),
        body="MultiHeadAttention (q, k) => (y) { b, c = Split <axis=3, num_outputs=2> (k)"
        "n = Constant <value_ints=[0,0,8]> () e = Reshape (b, n) f = Reshape (c, n)"
        "y = com.microsoft.MultiHeadAttention <num_heads=2> (q, e, f) }",
    ),
    multi("causal", OWN, unidirectional=1),
    microsoft("DecoderMaskedMultiHeadAttention", "cross", {**HEADS, "q": normal(2, 1, 8)}, num_heads=2),
    grouped("plain", GROUPED),
    grouped("packed", {**GROUPED, "q": normal(2, 3, 128), "k": None, "v": None}),
    grouped("window-cap", GROUPED, local_window_size=2, softcap=2.0, scale=0.5),
    grouped("rotary", {**GROUPED, **TURNS}, do_rotary=1),
    grouped("rotary-interleaved", {**GROUPED, **TURNS}, do_rotary=1, rotary_interleaved=1),
    grouped("past", LONGER, outputs=3),
    grouped("past-rotary", {**LONGER, **TURNS}, do_rotary=1, outputs=3),
    grouped("smooth", GROUPED, smooth_softmax=1),
    grouped(
        "sink-bias",
        {**GROUPED, "cos": None, "sin": None, "places": None, "bias": normal(1, 1, 3, 3), "sink": normal(4)},
    ),
    *[
        microsoft("RotaryEmbedding", name, {"x": x, "places": places, **TURNS}, fixed=("x", "cos", "sin"), **settings)
        for name, x, places, settings in (
            ("plain", normal(2, 3, 32), ints(2), {}),
            ("places", normal(2, 3, 32), np.asarray([[0, 2, 1], [5, 3, 4]]), {}),
            ("interleaved", normal(2, 3, 32), ints(0), {"interleaved": 1}),
            ("heads", normal(2, 2, 3, 16), ints(1), {}),
            ("part", normal(2, 3, 48), ints(1), {"rotary_embedding_dim": 16, "num_heads": 2}),
        )
    ],
]
