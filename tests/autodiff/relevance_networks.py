"""Small networks for relevance: one body each between a convolution and a pooled head."""

from __future__ import annotations

import numpy as np
import onnx

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
RANDOM = np.random.default_rng(1)
WEIGHTS = {
    "w": RANDOM.standard_normal((4, 3, 3, 3)),
    "w2": RANDOM.standard_normal((4, 4, 3, 3)),
    "v": RANDOM.uniform(0.5, 1.5, (4, 2)),
    "s": RANDOM.uniform(0.5, 1.5, 4),
    "t": RANDOM.standard_normal(4),
    "g8": RANDOM.standard_normal(8),
    "two": np.asarray(2.0),
    "step": np.asarray(0.05),
}


def network(body: str) -> onnx.ModelProto:
    """A convolution, *body* from `a` [n, 4, 8, 8] to `z` with 4 channels, and a pooled head; no biases."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>
    net (float[n, 3, 8, 8] x) => (float[n, 2] logits)
    <int64[1] start = {{0}}, int64[1] end = {{1}}, int64[4] kernel = {{16, 4, 2, 2}}, uint8 zero = {{0}}>
    {{
        c = Conv<pads = [1, 1, 1, 1]>(x, w)
        a = Relu(c)
        {body}
        p = GlobalAveragePool(z)
        f = Flatten(p)
        logits = MatMul(f, v)
    }}
    """)
    weights = {name: value.astype(np.float32) for name, value in WEIGHTS.items()}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    return model


BODIES = {
    "residual": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) d = Relu(b) z = Add(a, d)",
    "pools": "m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) z = AveragePool<kernel_shape = [2, 2]>(m)",
    "moves": "q = Transpose<perm = [0, 1, 3, 2]>(a)"
    " r, l = Split<axis = 1, num_outputs = 2>(q) z = Concat<axis = 1>(l, r)",
    "strided": "b = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(a, w2) z = Relu(b)",
    "transposed": "b = ConvTranspose<strides = [2, 2]>(a, w2) z = Relu(b)",
    "scaled": "b = Mul(a, two) z = Div(b, two)",
    "gate": "p0 = GlobalAveragePool(a) g = Sigmoid(p0) z = Mul(a, g)",
    "hard sigmoid": "h = Add(a, two) i = Clip(h, , two) g = Div(i, two) z = Mul(g, a)",
    "swish": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) g = Sigmoid(b) z = Mul(b, g)",
    "fused": 'z = com.microsoft.FusedConv<pads = [1, 1, 1, 1], activation = "Relu">(a, w2)',
}
