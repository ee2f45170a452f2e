"""Conventions of text detectors with maps, CRAFT, DBNet and EAST, and of classes that do not exclude each other."""

from __future__ import annotations

import numpy as np
import onnx

from tests.zoo.convention import Convention
from tests.zoo.networks import bright

__all__ = ["CONVENTIONS"]

ONE = np.array([20, -20], np.float32).reshape(1, 2, 1, 1)
TWO = np.concatenate([ONE, ONE / 2])


def craft() -> onnx.ModelProto:
    head = """
        p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)
        feature = Conv(p, wide)
        n = Conv(p, maps)
        output = Transpose<perm = [0, 2, 3, 1]>(n)
    """
    outputs = "float[N, 32, 32, 2] output, float[N, 32, 32, 32] feature"
    return bright(outputs, head, maps=TWO, wide=np.repeat(ONE, 32, axis=0))


def dbnet() -> onnx.ModelProto:
    head = """
        n = Conv(a, maps)
        near = Add(n, below)
        text = Sigmoid(near)
        other = Conv(a, edges)
        border = Sigmoid(other)
        d = Sub(text, border)
        steep = Mul(d, fifty)
        binary = Sigmoid(steep)
        maps3 = Concat<axis = 1>(text, border, binary)
    """
    numbers = {"fifty": 50, "below": -1}
    weights = {name: np.array([value], np.float32) for name, value in numbers.items()}
    return bright("float[N, 3, 64, 64] maps3", head, maps=ONE / 10, edges=-ONE / 20, **weights)


def east() -> onnx.ModelProto:
    head = """
        p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a)
        n = Conv(p, maps)
        s = Sigmoid(n)
        score_map = Transpose<perm = [0, 2, 3, 1]>(s)
        m = Conv(p, five)
        u = Sigmoid(m)
        far = Mul(u, most)
        geo_map = Transpose<perm = [0, 2, 3, 1]>(far)
    """
    model = bright(
        "float[N, 16, 16, 1] score_map, float[N, 16, 16, 5] geo_map",
        head,
        maps=ONE,
        five=np.repeat(ONE, 5, axis=0),
        most=np.array([512], np.float32),
    )
    given = {"score_map": "feature_fusion/Conv_7/Sigmoid:0", "geo_map": "feature_fusion/concat_3:0"}
    for node in model.graph.node:
        node.output[:] = [given.get(name, name) for name in node.output]
    for output in model.graph.output:
        output.name = given[output.name]
    return model


def independent() -> onnx.ModelProto:
    return bright(
        "float[N, 2, 64, 64] output",
        "n = Conv(a, maps) l = Add(n, below) output = Sigmoid(l)",
        maps=TWO,
        below=np.array([-3], np.float32),
    )


CONVENTIONS = [
    Convention(name, producer, users, signature, make, "a segmentation", parts=parts)
    for name, producer, users, signature, make, parts in [
        (
            "craft",
            "torch.onnx.export",
            "CRAFT: text detection of EasyOCR",
            "output [N, H / 2, W / 2, 2]: text and affinity; feature [N, 32, H / 2, W / 2]",
            craft,
            {"scores": "'output', 2 independent classes", "labels": "'text' to 'affinity'"},
        ),
        (
            "dbnet-three-maps",
            "torch.onnx.export",
            "DBNet as it is trained: text detection",
            "[N, 3, H, W]: text, threshold, and 1 / (1 + exp(−50 (text − threshold)))",
            dbnet,
            {"scores": "'maps3', 3 independent classes", "labels": "'text' to 'binary'"},
        ),
        (
            "east-tensorflow",
            "tf2onnx",
            "EAST of argman, as OpenCV's samples use it",
            "feature_fusion/Conv_7/Sigmoid:0 [N, H / 4, W / 4, 1], feature_fusion/concat_3:0 [N, H / 4, W / 4, 5]",
            east,
            {"scores": "'feature_fusion/Conv_7/Sigmoid:0', one class"},
        ),
        (
            "independent-classes",
            "torch.onnx.export",
            "U-Nets for several classes with a sigmoid each",
            "output [N, classes, H, W] behind Sigmoid",
            independent,
            {"scores": "'output', 2 independent classes"},
        ),
    ]
]
