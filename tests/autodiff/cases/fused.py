"""Cases for onnxcam.autodiff.rules.fused. Whole files of ONNX Runtime's optimiser: tests/autodiff/test_fused.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.autodiff.cases import distinct, normal, uniform
from tests.autodiff.cases.on_runtime import microsoft

X, W, B, Z = distinct(1, 2, 5, 5), normal(4, 2, 3, 3), normal(4), normal(1, 4, 3, 3)
CONV = {"x": X, "w": W, "b": B, "z": Z}
LAST = {"x": distinct(1, 5, 5, 2), "w": W, "b": B}
TOKENS, SCALE, SHIFT, BIAS = normal(2, 3, 8), uniform(8, low=0.5, high=1.5), normal(8), normal(8, seed=1)
SKIP = {"x": TOKENS, "skip": normal(2, 3, 8, seed=2), "scale": SCALE}
EMBED = {
    "words": np.asarray([[1, 0, 2]], np.int32),
    "segments": np.asarray([[0, 1, 1]], np.int32),
    "word_table": normal(3, 8),
    "place_table": normal(4, 8),
    "segment_table": normal(2, 8),
    "scale": SCALE,
    "shift": SHIFT,
}
PLACES = np.asarray([[2, 0, 1]], np.int32)
ACTIVATIONS: dict[str, dict[str, list[float]]] = {
    "Relu": {},
    "Tanh": {},
    "Sigmoid": {},
    "HardSigmoid": {"activation_params": [0.1, 0.4]},
    "LeakyRelu": {"activation_params": [0.1]},
    "Clip": {"activation_params": [-3.0, 2.0]},
}
SUM = ("y", "", "", "s")
NHWC = "t = Transpose <perm=[0,3,1,2]> (x) {} y = Transpose <perm=[0,2,3,1]> (a) }}"
NORM = {"x": normal(2, 3, 2, 8), "scale": SCALE, "shift": SHIFT}
GROUPS = (  # t, channels first, normalised over two groups of channels
    "n = Constant <value_ints=[0,2,-1]> () last = Constant <value_ints=[2]> () behind = Constant <value_ints=[1,2]> ()"
    "r = Reshape (t, n) m = ReduceMean <keepdims=1> (r, last) d = Sub (r, m) d2 = Mul (d, d)"
    "q = ReduceMean <keepdims=1> (d2, last) e = Constant <value_float=0.001> () v = Add (q, e) s = Sqrt (v)"
    "z = Div (d, s) shape = Shape (t) u = Reshape (z, shape)"
    "g = Unsqueeze (scale, behind) h = Unsqueeze (shift, behind) k = Mul (u, g) a0 = Add (k, h)"
)
PLAIN, SILU = "a = Identity (a0)", "i = Sigmoid (a0) a = Mul (a0, i)"


def group_norm(
    name: str, inputs: dict[str, Any], start: str = "", end: str = "", last: int = 1, **settings: Any
) -> Any:
    """Two groups of channels."""
    activation = SILU if settings.get("activation") else PLAIN
    turned = "t = Transpose <perm=[0,3,1,2]> (s0)" if last else "t = Identity (s0)"
    back = "y = Transpose <perm=[0,2,3,1]> (a)" if last else "y = Identity (a)"
    op = "SkipGroupNorm" if "skip" in inputs else "GroupNorm"
    outputs = "y, s0" if settings.get("outputs") == 2 else "y"
    lines = " ".join((start or "s0 = Identity (x)", turned, GROUPS, activation, back))
    body = f"{op} ({', '.join(inputs)}) => ({outputs}) {{ {lines} }}"
    fixed = tuple(inputs)
    return microsoft(
        op, name, inputs, groups=2, epsilon=1e-3, channels_last=last, body=body, fixed=fixed, symbolic=False, **settings
    )


CASES = [
    *[
        microsoft("FusedConv", name, CONV, activation=name, fixed=("w",), **params)
        for name, params in ACTIVATIONS.items()
    ],
    microsoft(
        "FusedConv", "alone", {"x": X, "w": W}, fixed=("w",), activation="Relu", strides=[2, 2], pads=[1, 0, 1, 0]
    ),
    microsoft(
        "NhwcConv",
        "plain",
        LAST,
        fixed=("w",),
        strides=[2, 2],
        body="NhwcConv (x, w, b) => (y) {" + NHWC.format("a = Conv <strides=[2,2]> (t, w, b)"),
    ),
    microsoft(
        "NhwcFusedConv",
        "sum",
        {**LAST, "z": normal(1, 3, 3, 4)},
        fixed=("w",),
        activation="Tanh",
        body="NhwcFusedConv (x, w, b, z) => (y) {"
        + NHWC.format("c = Conv (t, w, b) u = Transpose <perm=[0,3,1,2]> (z) d = Add (c, u) a = Tanh (d)"),
    ),
    microsoft(
        "FusedGemm",
        "tanh",
        {"a": normal(4, 3), "b": normal(5, 4), "c": normal(5)},
        activation="Tanh",
        transA=1,
        transB=1,
        alpha=0.7,
        beta=0.3,
    ),
    microsoft(
        "FusedGemm",
        "leaky",
        {"a": normal(3, 4), "b": normal(4, 5)},
        activation="LeakyRelu",
        activation_alpha=0.2,
    ),
    microsoft("FusedMatMul", "turned", {"a": normal(2, 3, 4), "b": normal(2, 5, 4)}, transB=1, alpha=0.5),
    microsoft("FusedMatMul", "across", {"a": normal(2, 4, 3), "b": normal(4, 5)}, transA=1),
    microsoft("FusedMatMul", "batch", {"a": normal(3, 2, 4), "b": normal(4, 2, 5)}, transBatchA=1, transBatchB=1),
    microsoft("FusedMatMul", "batch-across", {"a": normal(4, 2, 3), "b": normal(2, 4, 5)}, transA=1, transBatchA=1),
    microsoft("FusedMatMul", "square", {"a": normal(2, 3, 3), "b": normal(2, 3, 3, seed=1)}, transA=1, transB=1),
    microsoft("TransposeMatMul", "turned", {"a": normal(2, 4, 3), "b": normal(2, 5, 4)}, transA=1, transB=1, alpha=2.0),
    microsoft(
        "FusedMatMulActivation",
        "leaky",
        {"a": normal(2, 3, 4), "b": normal(2, 5, 4)},
        transB=1,
        alpha=0.5,
        activation="LeakyRelu",
        activation_alpha=0.1,
        body="FusedMatMulActivation (a, b) => (y) { t = Transpose <perm=[0,2,1]> (b) m = MatMul (a, t)"
        "h = Constant <value_float=0.5> () s = Mul (m, h) y = LeakyRelu <alpha=0.1> (s) }",
    ),
    microsoft(
        "GemmFastGelu",
        "bias",
        {"x": TOKENS, "w": normal(8, 4), "bias": normal(4)},
        body="GemmFastGelu (x, w, bias) => (y) { m = MatMul (x, w) s = Add (m, bias)y = com.microsoft.FastGelu (s) }",
    ),
    microsoft("Gelu", "plain", {"x": X}),
    microsoft("FastGelu", "plain", {"x": TOKENS}),
    microsoft("FastGelu", "bias", {"x": TOKENS, "bias": BIAS}),
    microsoft("BiasGelu", "plain", {"x": TOKENS, "bias": BIAS}),
    microsoft("QuickGelu", "plain", {"x": TOKENS}, alpha=1.3),
    microsoft(
        "BiasSplitGelu",
        "plain",
        {"x": TOKENS, "bias": BIAS},
        body="BiasSplitGelu (x, bias) => (y) { s = Add (x, bias) l, r = Split <axis=-1, num_outputs=2> (s)"
        "g = com.microsoft.Gelu (r) y = Mul (l, g) }",
    ),
    microsoft(
        "BiasAdd",
        "plain",
        {"x": TOKENS, "bias": BIAS, "skip": normal(2, 3, 8, seed=1)},
        body="BiasAdd (x, bias, skip) => (y) { s = Add (x, bias) y = Add (s, skip) }",
    ),
    microsoft(
        "BiasSoftmax",
        "last",
        {"x": TOKENS, "bias": normal(2, 1, 8)},
        axis=2,
        is_inner_broadcast=1,
        body="BiasSoftmax (x, bias) => (y) { s = Add (x, bias) y = Softmax <axis=-1> (s) }",
    ),
    microsoft(
        "BiasSoftmax",
        "several-axes",
        {"x": TOKENS, "bias": normal(1, 3, 8)},
        axis=1,
        is_inner_broadcast=0,
        body="BiasSoftmax (x, bias) => (y) { s = Add (x, bias) f = Flatten <axis=1> (s) p = Softmax <axis=-1> (f)"
        "t = Shape (x) y = Reshape (p, t) }",
    ),
    microsoft("SkipLayerNormalization", "plain", SKIP, epsilon=1e-5),
    microsoft("SkipLayerNormalization", "all", {**SKIP, "shift": SHIFT, "bias": BIAS}, epsilon=1e-3),
    microsoft(
        "SkipLayerNormalization",
        "sum",
        {**SKIP, "shift": SHIFT, "bias": BIAS},
        epsilon=1e-3,
        outputs=SUM,
    ),
    microsoft("SkipLayerNormalization", "one-skip", {**SKIP, "skip": normal(1, 3, 8)}, epsilon=1e-3),
    microsoft("SkipSimplifiedLayerNormalization", "bias", {**SKIP, "bias": BIAS}, epsilon=1e-3),
    microsoft("SkipSimplifiedLayerNormalization", "sum", SKIP, epsilon=1e-3, outputs=SUM),
    group_norm("last", NORM),
    group_norm("silu", NORM, activation=1),
    group_norm("first", {**NORM, "x": normal(2, 8, 3, 2)}, last=0, activation=1),
    group_norm(
        "skip",
        {**NORM, "skip": normal(2, 8), "bias": BIAS},
        "c = Constant <value_ints=[1,2]> () w = Unsqueeze (skip, c) e0 = Add (x, w) s0 = Add (e0, bias)",
        outputs=2,
    ),
    group_norm(
        "skip-first",
        {**NORM, "x": normal(2, 8, 3, 2), "skip": normal(2, 8, 3, 2, seed=1), "bias": BIAS},
        "c = Constant <value_ints=[1,2]> () w = Unsqueeze (bias, c) e0 = Add (x, w) s0 = Add (e0, skip)",
        last=0,
    ),
    microsoft("EmbedLayerNormalization", "segments", EMBED, outputs=("y", "mask"), fixed=tuple(EMBED)),
    microsoft(
        "EmbedLayerNormalization",
        "places",
        {**EMBED, "segments": None, "segment_table": None, "mask": np.ones((1, 3), np.int32), "places": PLACES},
        outputs=("y", "ends", "s"),
        symbolic=False,
    ),
]
