"""Random small networks, quantised by ONNX Runtime: the mixture with all shares at 1 is the quantised model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from onnxcam.diagnosis.mixture import ROUNDING, Mixture
from onnxcam.diagnosis.pairing import pair
from onnxcam.graph.io import to_proto
from tests.quantisers import network, optimised, pictures, quantised, run
from tests.runtime import new_runtime

quantization = pytest.importorskip("onnxruntime.quantization")

Line = tuple[str, str, str, dict[str, Any]]

STEPS: dict[str, tuple[list[tuple[str, str, dict[str, Any]]], dict[str, np.ndarray]]] = {
    "conv": ([("Conv", "# {w} {b}", {"pads": [1, 1, 1, 1]})], {"w": (3, 3, 3, 3), "b": (3,)}),
    "depthwise": ([("Conv", "# {w}", {"pads": [1, 1, 1, 1], "group": 3})], {"w": (3, 1, 3, 3)}),
    "relu": ([("Relu", "#", {})], {}),
    "relu6": ([("Clip", "# zero six", {})], {}),
    "silu": ([("Sigmoid", "#", {}), ("Mul", "## #", {})], {}),
    "leaky": ([("LeakyRelu", "#", {"alpha": 0.1})], {}),
    "residual": ([("Conv", "# {w} {b}", {"pads": [1, 1, 1, 1]}), ("Add", "# ##", {})], {"w": (3, 3, 3, 3), "b": (3,)}),
    "maximum": ([("MaxPool", "#", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})], {}),
    "mean": ([("AveragePool", "#", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})], {}),
    "turn": ([("Transpose", "#", {"perm": [0, 1, 3, 2]})], {}),
    "halves": (
        [("Slice", "# one two axis", {}), ("Concat", "# ##", {"axis": 1}), ("Slice", "# none three axis", {})],
        {},
    ),
    "pad": ([("Pad", "# pads", {}), ("Slice", "# none eight last", {})], {}),
    "resize": (
        [("Resize", "#  twice", {"mode": "nearest"}), ("MaxPool", "#", {"kernel_shape": [2, 2], "strides": [2, 2]})],
        {},
    ),
    "normalised": (
        [("Conv", "# {w}", {"pads": [1, 1, 1, 1]}), ("BatchNormalization", "# {s} {b} {m} {v}", {})],
        {"w": (3, 3, 3, 3), "s": (3,), "b": (3,), "m": (3,), "v": (3,)},
    ),
    "up": (
        [
            ("ConvTranspose", "# {w}", {"strides": [2, 2]}),
            ("AveragePool", "#", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ],
        {"w": (3, 3, 2, 2)},
    ),
    "scaled": ([("Mul", "# {s}", {}), ("Add", "# {b}", {})], {"s": (3, 1, 1), "b": (1, 3, 1, 1)}),
    "hard": ([("HardSigmoid", "#", {}), ("Sub", "## #", {})], {}),
    "softmax": ([("Softmax", "#", {"axis": 1})], {}),
    "product": ([("MatMul", "# {w}", {})], {"w": (8, 8)}),
    "itself": ([("MatMul", "# #", {})], {}),
}
"""Steps on [1, 3, 8, 8]: nodes that read # (the tensor before), ## (the one before that) and constants."""
CONSTANTS = {
    "zero": np.float32(0),
    "six": np.float32(6),
    "none": np.int64([0]),
    "one": np.int64([1]),
    "two": np.int64([2]),
    "three": np.int64([3]),
    "eight": np.int64([8]),
    "axis": np.int64([1]),
    "last": np.int64([-1]),
    "pads": np.int64([0, 0, 0, 0, 0, 0, 0, 2]),
    "twice": np.float32([1, 1, 2, 2]),
}


def built(names: list[str], seed: int) -> onnx.ModelProto:
    """Return the network of the steps *names*, with a linear head."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = dict(CONSTANTS)
    lines: list[Line] = []
    tensors = ["x", "x"]
    for place, name in enumerate(names):
        nodes, shapes = STEPS[name]
        own = {key: f"{key}{place}" for key in shapes}
        for key, shape in shapes.items():
            arrays[own[key]] = rng.uniform(0.5, 2, shape) if key == "v" else rng.standard_normal(shape) * 0.4
        for op, inputs, attributes in nodes:
            x = inputs.replace("##", tensors[-2]).replace("#", tensors[-1]).format(**own)
            lines.append((op, x.replace("  ", " \0 "), f"t{len(lines)}", attributes))
            tensors.append(lines[-1][2])
    arrays |= {"wf": rng.standard_normal((4, 3)) * 0.5, "bf": rng.standard_normal(4)}
    lines += [("GlobalAveragePool", tensors[-1], "g", {}), ("Flatten", "g", "f", {})]
    lines += [("Gemm", "f wf bf", "y", {"transB": 1})]
    model = network(lines, arrays, (1, 3, 8, 8), (1, 4))
    for node in model.graph.node:
        node.input[:] = ["" if name == "\0" else name for name in node.input]
    read = {name for node in model.graph.node for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


@new_runtime
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=4),
    st.integers(0, 99),
    st.sampled_from(["QDQ", "QOperator"]),
    st.booleans(),
    st.sampled_from(["", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]),
)
def test_mixture_and_pair(names: list[str], seed: int, form: str, channels: bool, level: str) -> None:
    model = built(names, seed)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"quant_format": quantization.QuantFormat[form], "per_channel": channels}
        candidate = quantised(model, Path(folder), **settings)
        if level:
            candidate = optimised(candidate, Path(folder), level)
    x = pictures()[1]
    mixture = Mixture.of(candidate)
    mixed = run(to_proto(mixture.model), {"x": x, ROUNDING: mixture.shares(1.0)})
    step = max(float(one.scale.max()) for one in mixture.quantisers if one.kind == "activation")
    np.testing.assert_allclose(mixed, run(candidate, {"x": x}), atol=1.01 * step)
    found = pair(candidate, model, {"x": x})
    assert found.difference < 1e-3
    assert not found.unmatched
