"""Small quantised networks of each kind of operator, and a slow replica of their straight-through gradients.

The replica works on ONNX's reference implementation: every tensor of a run, and Jacobians of linear operators by their
columns. It knows neither rules nor codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

Array = NDArray[Any]
CHANNELS, SIDE = 4, 6
SIGNED, RECTIFIED = (4 / 255, 128), (2 / 255, 0)
"""Scale and zero point of uint8, for a tensor of any sign and for a rectified one."""


class Builder:
    """Builds a network of float operators, each between DequantizeLinear and QuantizeLinear."""

    def __init__(self, dtype: type[np.integer]) -> None:
        self.dtype, self._nodes, self._weights = dtype, list[onnx.NodeProto](), dict[str, Array]()
        self._rng = np.random.default_rng(3)
        self.shift = 128 if dtype == np.int8 else 0

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op_type.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, array: Any) -> str:
        name = f"w{len(self._weights)}"
        self._weights[name] = np.asarray(array)
        return name

    def rounded(self, x: str, scale: float, zero: int) -> str:
        """Return *x* quantised and dequantised; *zero* is that of uint8."""
        units = self.weight(np.float32(scale)), self.weight(self.dtype(zero - self.shift))
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, *units), *units)

    def kernel(self, *shape: int) -> str:
        """Return a weight of int8, dequantised by channel."""
        codes, scale = self._rng.integers(-127, 128, shape).astype(np.int8), np.full(shape[0], 0.006, np.float32)
        zeros = self.weight(np.zeros(shape[0], np.int8))
        return self.node("DequantizeLinear", self.weight(codes), self.weight(scale), zeros, axis=0)

    def conv(self, x: str, side: int = 3, group: int = 1) -> str:
        kernel = self.kernel(CHANNELS, CHANNELS // group, side, side)
        return self.node("Conv", x, kernel, pads=[side // 2] * 4, group=group)

    def relu(self, x: str) -> str:
        return self.rounded(self.node("Relu", x), *RECTIFIED)

    def clip(self, x: str, low: float, high: float) -> str:
        return self.node("Clip", x, self.weight(np.float32(low)), self.weight(np.float32(high)))

    def model(self, middle: Callable[[Builder, str], str], last: bool = True) -> onnx.ModelProto:
        """Return a convolution, *middle*, and a convolution, from x to y."""
        y = middle(self, self.relu(self.conv(self.rounded("x", *SIGNED))))
        if last:
            y = self.rounded(self.conv(y, 1), 8 / 255, 128)
        self._nodes[-1].output[0] = "y"
        shape = [1, CHANNELS, SIDE, SIDE]
        graph = helper.make_graph(
            self._nodes,
            "integers",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(array, name) for name, array in self._weights.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
        return onnx.shape_inference.infer_shapes(made)


def _same(b: Builder, x: str, scale: float, zero: int, op_type: str, **attributes: Any) -> str:
    return b.rounded(b.node(op_type, x, **attributes), scale, zero)


def _head(b: Builder, x: str) -> str:
    flat = b.node("Flatten", x)
    kernel = b.kernel(5, CHANNELS * SIDE * SIDE)
    return b.rounded(b.node("Gemm", flat, kernel, transB=1), 16 / 255, 128)


WINDOW: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
MIDDLES: dict[str, Callable[[Builder, str], str]] = {
    "Conv": lambda b, x: b.rounded(b.conv(x), *SIGNED),
    "Conv, Relu": lambda b, x: b.relu(b.conv(x)),
    "Conv, Clip inside the range": lambda b, x: b.rounded(b.clip(b.conv(x), -0.5, 1.0), *SIGNED),
    "Conv, Clip over the range": lambda b, x: b.rounded(b.clip(b.conv(x), 0.0, 6.0), *RECTIFIED),
    "depthwise Conv": lambda b, x: b.relu(b.conv(x, group=CHANNELS)),
    "Add": lambda b, x: b.relu(b.node("Add", x, b.rounded(b.conv(x), *SIGNED))),
    "MaxPool": lambda b, x: _same(b, x, *RECTIFIED, "MaxPool", **WINDOW),
    "AveragePool": lambda b, x: _same(b, x, *RECTIFIED, "AveragePool", **WINDOW),
    "GlobalAveragePool": lambda b, x: _same(b, x, *RECTIFIED, "GlobalAveragePool"),
    "Sigmoid": lambda b, x: _same(b, x, 1 / 255, 0, "Sigmoid"),
    "HardSwish": lambda b, x: b.rounded(b.node("HardSwish", b.rounded(b.conv(x), *SIGNED)), *SIGNED),
}
ENDS: dict[str, Callable[[Builder, str], str]] = {
    "Gemm": _head,
    "Concat": lambda b, x: b.rounded(b.node("Concat", x, b.rounded(b.conv(x), *SIGNED), axis=1), *SIGNED),
}


def network(name: str, dtype: type[np.integer]) -> onnx.ModelProto:
    """Return the network called *name*, its activations of *dtype*."""
    return Builder(dtype).model({**MIDDLES, **ENDS}[name], last=name in MIDDLES)


def straight_through(model: onnx.ModelProto, x: Array, dy: Array) -> Array:
    """Return the gradient at *x*, given the cotangent *dy* of y."""
    tensors = _run(model, x)
    cotangents: dict[str, Array] = {"y": dy}
    for node in reversed(model.graph.node):
        if node.output[0] not in cotangents:
            continue
        inputs = [tensors[name] for name in node.input]
        for name, dx in _gradients(node, inputs, tensors[node.output[0]], cotangents[node.output[0]]).items():
            cotangents[name] = cotangents.get(name, 0) + dx
    return cotangents["x"]


def is_clear(model: onnx.ModelProto, x: Array) -> bool:
    """Whether no value of a run rounds to the code at which a quantiser or a rectifier clips: codes tell all."""
    tensors = _run(model, x)
    units = {node.input[0]: node.input[1:] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for node in model.graph.node:
        value, behind = tensors[node.input[0]], units.get(node.output[0])
        if behind is not None and node.op_type in ("Relu", "Clip"):
            step, bounds = tensors[behind[0]], [tensors[name] for name in node.input[1:]] or [np.float32(0)]
            if any(((np.abs(value - bound) < 0.51 * step) & (value != bound)).any() for bound in bounds):
                return False
        maker = node.input[0].rstrip("0123456789")
        if node.op_type == "QuantizeLinear" and maker in ("add", "clip", "conv", "gemm", "relu"):
            steps = value / tensors[node.input[1]] + tensors[node.input[2]]
            ends = np.iinfo(tensors[node.input[2]].dtype)
            if ((np.minimum(np.abs(steps - ends.min), np.abs(steps - ends.max)) < 0.51) & (value != 0)).any():
                return False
    return True


def _run(model: onnx.ModelProto, x: Array) -> dict[str, Array]:
    every = onnx.ModelProto()
    every.CopyFrom(model)
    del every.graph.output[:]
    every.graph.output.extend(onnx.ValueInfoProto(name=node.output[0]) for node in model.graph.node)
    names = [node.output[0] for node in model.graph.node]
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    return {"x": x, **weights, **dict(zip(names, ReferenceEvaluator(every).run(None, {"x": x}), strict=True))}


def _gradients(node: onnx.NodeProto, inputs: list[Array], y: Array, dy: Array) -> dict[str, Array]:
    first, x = node.input[0], inputs[0]
    if node.op_type in ("DequantizeLinear", "QuantizeLinear"):
        if not np.issubdtype(x.dtype, np.floating):
            return {first: dy * inputs[1]} if inputs[1].size == 1 else {}
        steps, ends = np.rint(x / inputs[1]) + inputs[2], np.iinfo(inputs[2].dtype)
        return {first: dy / inputs[1] * ((steps >= ends.min) & (steps <= ends.max))}
    if node.op_type == "Add":
        return {node.input[0]: dy, node.input[1]: dy}
    if node.op_type == "Concat":
        return dict(zip(node.input, np.split(dy, [x.shape[1]], axis=1), strict=True))
    if node.op_type == "MaxPool":
        return {first: _to_first_maximum(x, dy)}
    slopes = {
        "Relu": lambda: x > 0,
        "Clip": lambda: (x > inputs[1]) & (x < inputs[2]),
        "Sigmoid": lambda: y * (1 - y),
        "HardSwish": lambda: np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0),
    }
    if node.op_type in slopes:
        return {first: dy * slopes[node.op_type]()}
    return {first: _through_linear(node, inputs, dy)}


def _through_linear(node: onnx.NodeProto, inputs: list[Array], dy: Array) -> Array:
    """Return the gradient of a linear operator, its Jacobian from a batch of unit vectors."""
    x, names = inputs[0], [f"i{i}" for i in range(len(inputs))]
    copy = helper.make_node(node.op_type, names, ["o"])
    copy.attribute.extend(node.attribute)
    types = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (*names, "o")]
    alone = ReferenceEvaluator(helper.make_model(helper.make_graph([copy], "one", types[:-1], types[-1:])))
    units = np.eye(x.size, dtype=np.float32).reshape(x.size, *x.shape[1:])
    columns = alone.run(None, dict(zip(names, [units, *inputs[1:]], strict=True)))[0]
    return (columns.reshape(x.size, -1) @ dy.reshape(-1)).reshape(x.shape)


def _to_first_maximum(x: Array, dy: Array) -> Array:
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*dy.shape):
        window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        a, b = np.unravel_index(window.argmax(), window.shape)
        dx[n, c, 2 * i + a, 2 * j + b] += dy[n, c, i, j]
    return dx
