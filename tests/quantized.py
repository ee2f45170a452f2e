"""A small quantised network, its weights and scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

RNG = np.random.default_rng(0)
W1, W2 = (RNG.standard_normal(shape).astype(np.float32) * 0.2 for shape in ((8, 3, 3, 3), (10, 8)))
S_W1 = (np.abs(W1).max((1, 2, 3)) / 127).astype(np.float32)
SCALES = {"x": (0.02, 120), "a": (0.015, 10), "p": (0.01, 0), "w2": (0.004, 0), "y": (0.02, 128)}


def qdq(integer: bool = False) -> onnx.ModelProto:
    """The same network as a QDQ file: weights are integers, pooling is on integers; *integer*: input and output too."""
    w1 = np.clip(np.rint(W1 / S_W1.reshape(-1, 1, 1, 1)), -127, 127).astype(np.int8)
    w2 = np.clip(np.rint(W2 / np.float32(0.004)), -128, 127).astype(np.int8)
    weights: dict[str, Any] = {"w1": w1, "sw1": S_W1, "zw1": np.zeros(8, np.int8), "w2": w2.T.copy()}
    for name, (scale, zero) in SCALES.items():
        weights["s" + name] = np.float32(scale)
        weights["z" + name] = np.asarray(zero, np.int8 if name == "w2" else np.uint8)
    lines = [
        ("QuantizeLinear", "x sx zx", "qx", {}),
        ("DequantizeLinear", "qx sx zx", "dx", {}),
        ("DequantizeLinear", "w1 sw1 zw1", "dw1", {"axis": 0}),
        ("Conv", "dx dw1", "c", {"pads": [1, 1, 1, 1]}),
        ("Relu", "c", "r", {}),
        ("QuantizeLinear", "r sa za", "qa", {}),
        ("MaxPool", "qa", "m", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("DequantizeLinear", "m sa za", "dm", {}),
        ("GlobalAveragePool", "dm", "g", {}),
        ("Flatten", "g", "f", {}),
        ("QuantizeLinear", "f sp zp", "qp", {}),
        ("DequantizeLinear", "qp sp zp", "dp", {}),
        ("DequantizeLinear", "w2 sw2 zw2", "dw2", {}),
        ("MatMul", "dp dw2", "l", {}),
        ("QuantizeLinear", "l sy zy", "qy", {}),
        ("DequantizeLinear", "qy sy zy", "y", {}),
    ]
    nodes = [helper.make_node(op, x.split(), [y], name=y, **settings) for op, x, y, settings in lines]
    kind = TensorProto.UINT8 if integer else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes[1:-1] if integer else nodes,
        "net",
        [helper.make_tensor_value_info("qx" if integer else "x", kind, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("qy" if integer else "y", kind, [1, 10])],
        [onnx.numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
