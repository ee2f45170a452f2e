"""A small trained-like network, and its quantised forms as ONNX Runtime writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 3, 8, 8)


class Calibration:
    """The inputs *feeds*, one after the other, as ONNX Runtime's quantisers read them."""

    def __init__(self, feeds: Iterable[dict[str, Any]]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next inputs; None after the last."""
        return next(self._left, None)


def pictures(count: int = 4, shape: tuple[int, ...] = SHAPE) -> list[np.ndarray]:
    """Smooth random inputs."""
    rng = np.random.default_rng(5)
    return [np.cumsum(rng.standard_normal(shape), -1).astype(np.float32) / 3 for _ in range(count)]


def convolutional(normalised: bool = False, constants: bool = False, opset: int = 17) -> onnx.ModelProto:
    """Conv → Relu → MaxPool → depthwise Conv → Relu → + → pool → Gemm.

    *normalised*: a BatchNormalization follows the first convolution; *constants*: weights are Constant nodes.
    """
    rng = np.random.default_rng(0)
    arrays = {
        "w1": rng.standard_normal((6, 3, 3, 3)) * 0.3,
        "b1": rng.standard_normal(6) * 0.1,
        "w2": rng.standard_normal((6, 1, 3, 3)) * 0.4,
        "b2": rng.standard_normal(6) * 0.1,
        "w3": rng.standard_normal((4, 6)) * 0.5,
        "b3": rng.standard_normal(4) * 0.1,
    }
    lines: list[tuple[str, str, str, dict[str, Any]]] = [
        ("Conv", "x w1 b1", "c1", {"pads": [1, 1, 1, 1]}),
        ("Relu", "c1", "r1", {}),
        ("MaxPool", "r1", "p1", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", "p1 w2 b2", "c2", {"pads": [1, 1, 1, 1], "group": 6}),
        ("Relu", "c2", "r2", {}),
        ("Add", "p1 r2", "a", {}),
        ("GlobalAveragePool", "a", "g", {}),
        ("Flatten", "g", "f", {}),
        ("Gemm", "f w3 b3", "y", {"transB": 1}),
    ]
    if normalised:
        arrays |= {"gamma": rng.uniform(0.5, 2, 6), "beta": rng.standard_normal(6) * 0.2}
        arrays |= {"mean": rng.standard_normal(6) * 0.2, "variance": rng.uniform(0.3, 2, 6)}
        lines[0] = ("Conv", "x w1 b1", "n1", lines[0][3])
        lines.insert(1, ("BatchNormalization", "n1 gamma beta mean variance", "c1", {}))
    return network(lines, arrays, SHAPE, (1, 4), constants, opset)


def network(
    lines: list[tuple[str, str, str, dict[str, Any]]],
    arrays: dict[str, np.ndarray],
    shape: tuple[int, ...],
    out: tuple[int, ...],
    constants: bool = False,
    opset: int = 17,
) -> onnx.ModelProto:
    """Return the model of *lines*: operator, inputs, output (which names the node) and attributes."""
    nodes = [helper.make_node(op, x.split(), y.split(), name=f"node_{y}", **settings) for op, x, y, settings in lines]
    narrow = {k: np.asarray(v, np.float32 if np.asarray(v).dtype == np.float64 else None) for k, v in arrays.items()}
    tensors = [numpy_helper.from_array(array, name) for name, array in narrow.items()]
    if constants:
        nodes = [helper.make_node("Constant", [], [one.name], value=one) for one in tensors] + nodes
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(lines[-1][2], TensorProto.FLOAT, out)],
        [] if constants else tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def quantised(
    model: onnx.ModelProto, folder: Path, prepared: bool = False, inputs: list[np.ndarray] | None = None, **options: Any
) -> onnx.ModelProto:
    """Return *model* as ONNX Runtime quantises it; *prepared*: pre-processed first, as its pages advise."""
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, made = folder / "float.onnx", folder / "quantised.onnx"
    onnx.save(model, source)
    if prepared:
        quant_pre_process(source, source, skip_symbolic_shape=True)
    quantize_static(source, made, Calibration({"x": x} for x in inputs or pictures()), **options)
    return onnx.load(made)


def optimised(model: onnx.ModelProto, folder: Path, level: str = "ORT_ENABLE_EXTENDED") -> onnx.ModelProto:
    """Return *model* as ONNX Runtime rewrites it for the CPU."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Return the first output."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])
