"""Small networks for the tests: one whose maps are computed by hand, and a way to export PyTorch's."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx

HAND_X = np.array([[[[1, -2], [3, -4]]]], np.float32)


def hand_model(classes_last: str = "logits") -> onnx.ModelProto:
    """Conv 1×1 (weights 1, -1), ReLU, global average pool, linear [[2, -1], [0, 3]]: all of it by hand.

    At `HAND_X`: A_1 = [[1, 0], [3, 0]], A_2 = [[0, 2], [0, 4]], logits (0.5, 4.5).
    """
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    hand (float[n, 1, 2, 2] x) => (float[n, 2] {classes_last})
    <float[2, 1, 1, 1] w = {{1, -1}}, float[2, 2] v = {{2, -1, 0, 3}}, float[2] b = {{0, 0}}>
    {{
        c = Conv(x, w)
        a = Relu(c)
        p = GlobalAveragePool(a)
        f = Flatten(p)
        {classes_last} = Gemm<transB = 1>(f, v, b)
    }}
    """
    return onnx.parser.parse_model(text)


def varied_model() -> onnx.ModelProto:
    """The layer of `hand_model`, then a linear head with a weight for each cell: its gradient varies over the layer.

    The weights of class 0 are [[2, -1], [-½, 1½]] for channel 1 and [[1, -2], [½, 2]] for channel 2, those of class 1
    [[0, 1], [1, -1]] and [[½, 0], [1, -½]]. At `HAND_X` the logits are (4.5, 1).
    """
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    varied (float[n, 1, 2, 2] x) => (float[n, 2] logits)
    <float[2, 1, 1, 1] w = {1, -1},
     float[2, 8] v = {2, -1, -0.5, 1.5, 1, -2, 0.5, 2, 0, 1, 1, -1, 0.5, 0, 1, -0.5}>
    {
        c = Conv(x, w)
        a = Relu(c)
        f = Flatten(a)
        logits = Gemm<transB = 1>(f, v)
    }
    """
    return onnx.parser.parse_model(text)


def hand_transformer() -> onnx.ModelProto:
    """The four pixels as tokens of one channel that attend to each other, averaged; scores 2 and -1 times that."""
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    hand (float[n, 1, 2, 2] x) => (float[n, 2] logits)
    <float[1, 1, 1, 1] one = {1}, int64[3] tokens = {0, 1, 4}, int64[4] heads = {0, 1, 4, 1}, int64[3] back = {0, 4, 1},
     int64[1] axis = {1}, float[1, 2] v = {2, -1}>
    {
        c = Conv(x, one)
        r = Reshape(c, tokens)
        z = Transpose<perm = [0, 2, 1]>(r)
        q = Reshape(z, heads)
        k = Transpose<perm = [0, 1, 3, 2]>(q)
        s = MatMul(q, k)
        a = Softmax(s)
        o = MatMul(a, q)
        b = Reshape(o, back)
        y = Add(z, b)
        m = ReduceMean<keepdims = 0>(y, axis)
        logits = MatMul(m, v)
    }
    """
    return onnx.parser.parse_model(text)


def export(module: Any, *examples: Any, **settings: Any) -> onnx.ModelProto:
    """Return *module*, a PyTorch one, as ONNX; its input is ``x``, its output ``logits``."""
    import torch

    names = {"input_names": ["x"], "output_names": ["logits"], **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if names.pop("dynamo", True):
            program = torch.onnx.export(module.eval(), examples, dynamo=True, verbose=False, **names)
            return program.model_proto
        buffer = io.BytesIO()
        torch.onnx.export(module.eval(), examples, buffer, dynamo=False, **names)
    return onnx.load_from_string(buffer.getvalue())


def classifier(channels: int = 3, declare: str = "") -> onnx.ModelProto:
    weights = ", ".join(["0.5", "-0.25"] * channels)
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[n, {channels}, 8, 8] x{declare}) => (float[n, 2] logits)
    <float[2, {channels}, 1, 1] w = {{{weights}}}, float[2, 2] v = {{2, -1, 0, 3}}>
    {{
        c = Conv(x, w)
        a = Relu(c)
        p = GlobalAveragePool(a)
        f = Flatten(p)
        logits = MatMul(f, v)
    }}
    """)


def saved(path: Path, proto: onnx.ModelProto) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path
