"""Stand-ins: small networks that arrange their activations as known families of networks do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["STANDINS", "Net", "fewer_queries"]

SIZE = 64  # height and width of the picture
CELL = 8  # of a patch


class Net:
    """Builds a model for a picture x [batch, 3, 64, 64] from nodes with random weights."""

    def __init__(self, batch: int | str = "batch") -> None:
        self.batch = batch
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, op_type: str, *inputs: Any, name: str = "", **attributes: Any) -> str:
        """Add a node; inputs are names of tensors, or arrays. Return the name of its output."""
        names = [x if isinstance(x, str) else self.weight(np.asarray(x)) for x in inputs]
        output = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, names, [output], **attributes))
        return output

    def weight(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def random(self, *shape: int) -> Any:
        return (self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def conv(self, x: str, before: int, after: int, kernel: int = 3, stride: int = 1, name: str = "") -> str:
        """Add a convolution and its ReLU."""
        pads = [kernel // 2 if kernel % 2 else 0] * 4
        y = self.op("Conv", x, self.random(after, before, kernel, kernel), strides=[stride] * 2, pads=pads)
        return self.op("Relu", y, name=name)

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, np.array(shape, np.int64))

    def transpose(self, x: str, *perm: int) -> str:
        return self.op("Transpose", x, perm=perm)

    def patches(self, width: int = 16) -> str:
        return self.op("Conv", "x", self.random(width, 3, CELL, CELL), strides=[CELL] * 2)

    def tokens(self, grid: str, computed: bool = False) -> str:
        """Flatten a grid into tokens [N, T, C]; *computed*: by a shape that is read at run time."""
        if computed:
            first = self.op("Slice", self.op("Shape", grid), np.array([0]), np.array([2]), np.array([0]))
            flat = self.op("Reshape", grid, self.op("Concat", first, np.array([-1]), axis=0))
        else:
            flat = self.reshape(grid, -1, 16, (SIZE // CELL) ** 2)
        return self.transpose(flat, 0, 2, 1)

    def norm(self, x: str, width: int = 16, name: str = "") -> str:
        one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.op("LayerNormalization", x, one, zero, axis=-1, name=name)

    def block(self, x: str, width: int = 16, swap: Sequence[int] = (0, 2, 1)) -> str:
        """Add self-attention with its residual sum."""
        h = self.norm(x)
        q, k, v = (self.op("MatMul", h, np.float32(strength) * self.random(width, width)) for strength in (0.2, 0.2, 1))
        a = self.op("Softmax", self.op("MatMul", q, self.transpose(k, *swap)), axis=-1)
        return self.op("Add", x, self.op("MatMul", a, v))

    def classify(self, vector: str, width: int = 16) -> onnx.ModelProto:
        return self.model(self.op("MatMul", vector, self.random(width, 5), name="logits"), (5,))

    def mean(self, x: str, *axes: int) -> str:
        return self.op("ReduceMean", x, axes=axes, keepdims=0)

    def model(self, output: str, shape: Sequence[int | str]) -> onnx.ModelProto:
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [self.batch, *lengths])
            for name, lengths in (("x", (3, SIZE, SIZE)), (output, shape))
        ]
        graph = helper.make_graph(self.nodes, "standin", values[:1], values[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def channel_shuffle(net: Net) -> onnx.ModelProto:
    """ShuffleNet: channels are regrouped behind each unit, as Reshape, Transpose, Reshape."""
    x = net.conv("x", 3, 16, stride=2)
    for stride, length in ((2, 16), (2, 8), (1, 8)):
        x = net.conv(x, 16, 16, stride=stride)
        x = net.reshape(x, -1, 2, 8, length, length)
        x = net.reshape(net.transpose(x, 0, 2, 1, 3, 4), -1, 16, length, length)
    return net.classify(net.mean(net.conv(x, 16, 16, kernel=1, name="conv5"), 2, 3))


def windows(net: Net) -> onnx.ModelProto:
    """MaxViT: residual blocks work on windows [N · windows, cells, C], which are put together behind them."""
    x = net.transpose(net.patches(), 0, 2, 3, 1)
    x = net.transpose(net.reshape(x, -1, 2, 4, 2, 4, 16), 0, 1, 3, 2, 4, 5)
    x = net.block(net.reshape(x, -1, 16, 16))
    x = net.transpose(net.reshape(x, -1, 2, 2, 4, 4, 16), 0, 1, 3, 2, 4, 5)
    x = net.transpose(net.reshape(x, -1, 8, 8, 16), 0, 3, 1, 2)
    return net.classify(net.mean(x, 2, 3))


def shifted_windows(net: Net) -> onnx.ModelProto:
    """Swin: the grid is rolled, cut into windows, put together and rolled back, beside a residual connection."""
    start = net.transpose(net.patches(), 0, 2, 3, 1)
    x = net.transpose(net.reshape(_rolled(net, start, 2), -1, 2, 4, 2, 4, 16), 0, 1, 3, 2, 4, 5)
    x = net.block(net.reshape(x, -1, 16, 16))
    x = net.transpose(net.reshape(x, -1, 2, 2, 4, 4, 16), 0, 1, 3, 2, 4, 5)
    x = _rolled(net, net.reshape(x, -1, 8, 8, 16), 6)
    return net.classify(net.mean(net.norm(net.op("Add", start, x), name="last"), 1, 2))


def _rolled(net: Net, x: str, shift: int) -> str:
    for axis in (1, 2):
        head = net.op("Slice", x, np.array([0]), np.array([shift]), np.array([axis]))
        x = net.op("Concat", net.op("Slice", x, np.array([shift]), np.array([8]), np.array([axis])), head, axis=axis)
    return x


def unrolled(net: Net) -> onnx.ModelProto:
    """Hiera: the tokens lie in the order of mask units, and are never put into the order of rows again."""
    x = net.reshape(net.tokens(net.patches()), -1, 4, 2, 4, 2, 16)
    x = net.block(net.reshape(net.transpose(x, 0, 2, 4, 1, 3, 5), -1, 64, 16))
    return net.classify(net.mean(net.norm(x, name="last"), 1))


def kept_tokens(net: Net) -> onnx.ModelProto:
    """Masked autoencoders: the tokens that a mask keeps, all of them, are gathered in another order."""
    order = np.random.default_rng(1).permutation(64)
    x = net.block(net.op("Gather", net.tokens(net.patches()), order, axis=1))
    return net.classify(net.mean(net.norm(x, name="last"), 1))


def fewer_queries(net: Net) -> onnx.ModelProto:
    """LeViT: every second token is a query, and no sum keeps its place."""
    x = net.block(net.tokens(net.patches()))
    grid = net.reshape(x, -1, 8, 8, 16)
    few = net.op("Slice", grid, np.array([0, 0]), np.array([8, 8]), np.array([1, 2]), np.array([2, 2]))
    few = net.reshape(few, -1, 16, 16)
    q, k, v = (net.op("MatMul", h, np.float32(0.2) * net.random(16, 16)) for h in (few, x, x))
    a = net.op("Softmax", net.op("MatMul", q, net.transpose(k, 0, 2, 1)), axis=-1)
    x = net.op("MatMul", a, v)
    return net.classify(net.mean(net.norm(x, name="last"), 1))


def dead_tokens(net: Net) -> onnx.ModelProto:
    """CoaT, CaiT: behind the last attention many layers work on every token, and the head reads one token."""
    order = np.random.default_rng(1).permutation(64)
    x = net.op("Gather", net.tokens(net.patches()), order, axis=1)
    h = net.norm(x, name="last")
    a = net.op("Softmax", net.op("MatMul", h, net.transpose(h, 0, 2, 1)), axis=-1)
    x = net.op("Add", x, net.op("MatMul", a, h))
    for _ in range(10):
        x = net.op("Add", x, net.op("MatMul", net.norm(x), net.random(16, 16)))
    return net.classify(net.reshape(net.op("Slice", x, np.array([0]), np.array([1]), np.array([1])), -1, 16))


def computed_flatten(net: Net) -> onnx.ModelProto:
    """A ViT of PyTorch's older exporter: the grid is flattened by a shape that is read at run time."""
    x = net.block(net.tokens(net.patches(), computed=True))
    return net.classify(net.mean(net.norm(x, name="last"), 1))


def class_token(net: Net) -> onnx.ModelProto:
    """A ViT whose class token is repeated by a shape that is read at run time."""
    x = net.tokens(net.patches(), computed=True)
    batch = net.op("Slice", net.op("Shape", x), np.array([0]), np.array([1]), np.array([0]))
    token = net.op("Expand", net.random(1, 1, 16), net.op("Concat", batch, np.array([1, 16]), axis=0))
    x = net.block(net.op("Concat", token, x, axis=1))
    return net.classify(net.mean(net.norm(x, name="last"), 1))


def tokens_first(net: Net) -> onnx.ModelProto:
    """CLIP's own tower, and the default of nn.MultiheadAttention: tokens [T, N, C]."""
    x = net.transpose(net.tokens(net.patches()), 1, 0, 2)
    h = net.norm(x)
    q, k, v = (net.transpose(net.op("MatMul", h, np.float32(s) * net.random(16, 16)), 1, 0, 2) for s in (0.2, 0.2, 1))
    a = net.op("Softmax", net.op("MatMul", q, net.transpose(k, 0, 2, 1)), axis=-1)
    x = net.op("Add", x, net.transpose(net.op("MatMul", a, v), 1, 0, 2))
    return net.classify(net.mean(net.norm(x, name="last"), 0))


def tokens_as_grid(net: Net) -> onnx.ModelProto:
    """CoaT: a class token is joined and cut off again, and the tokens become a grid by a computed shape."""
    grid = net.patches()
    x = net.block(net.tokens(grid, computed=True))
    x = net.op("Reshape", net.transpose(x, 0, 2, 1), net.op("Shape", grid))
    x = net.op("Relu", net.op("Conv", x, net.random(16, 1, 3, 3), pads=[1] * 4, group=16), name="last")
    return net.classify(net.mean(x, 2, 3))


def columns(net: Net) -> onnx.ModelProto:
    """A text reader: the rows are averaged, the columns are tokens."""
    x = net.mean(net.conv(net.patches(), 16, 16), 2)
    x = net.op("Reshape", x, net.op("Concat", np.array([-1, 16]), net.op("Shape", x, start=2), axis=0))
    x = net.block(net.transpose(x, 0, 2, 1))
    return net.classify(net.mean(net.norm(x, name="last"), 1))


STANDINS: dict[Callable[[Net], onnx.ModelProto], tuple[int, int]] = {
    channel_shuffle: (8, 8),
    windows: (8, 8),
    shifted_windows: (8, 8),
    unrolled: (8, 8),
    kept_tokens: (8, 8),
    dead_tokens: (8, 8),
    computed_flatten: (8, 8),
    class_token: (8, 8),
    tokens_first: (8, 8),
    tokens_as_grid: (8, 8),
    columns: (1, 8),
}
"""Each stand-in, and the grid of its last layer."""
