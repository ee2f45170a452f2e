"""Tiny quantised models, spoilt ones, and pictures for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def linear(scale: float = 0.5, zero: int = 0) -> onnx.ModelProto:
    """y = w · flatten(DQ(Q(x))) for x [1, 1, 2, 2] and w = (1, 2, 3, 4), in QDQ form; w is quantised in steps of 1."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="quantise"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Flatten", ["d"], ["f"]),
        helper.make_node("DequantizeLinear", ["w_quantized", "one", "none"], ["w_real"]),
        helper.make_node("MatMul", ["f", "w_real"], ["y"]),
    ]
    constants = {
        "scale": np.float32(scale),
        "zero": np.int8(zero),
        "one": np.float32(1),
        "none": np.int8(0),
        "w_quantized": np.array([[1], [2], [3], [4]], np.int8),
    }
    return _model(nodes, constants)


def linear_float(w: tuple[float, ...] = (1.25, 2, 3, 3.75)) -> onnx.ModelProto:
    """The float original of `linear`."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    return _model(nodes, {"w": np.array(w, np.float32).reshape(4, 1)})


def _model(nodes: list[onnx.NodeProto], constants: dict[str, NDArray[np.generic] | np.generic]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def respell(path: Path, made: Path, tensor: str, factor: float = 1.0, shift: int = 0) -> Path:
    """Write the QDQ file *path* with another scale and zero point of the activation whose real tensor is *tensor*."""
    model = onnx.load(path)
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    node = next(one for one in model.graph.node if one.op_type == "QuantizeLinear" and one.input[0] == tensor)
    units = {
        "spoilt.scale": np.asarray(constants[node.input[1]] * np.float32(factor), np.float32),
        "spoilt.zero": (constants[node.input[2]].astype(int) + shift).astype(constants[node.input[2]].dtype),
    }
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in units.items())
    for each in model.graph.node:
        if each is node or (each.op_type == "DequantizeLinear" and each.input[0] == node.output[0]):
            each.input[1:] = list(units)
    onnx.save(model, made)
    return made
