"""Conventions of classifiers."""

from __future__ import annotations

import onnx

from tests.zoo.convention import Convention

__all__ = ["CONVENTIONS"]


def torch_logits() -> onnx.ModelProto:
    """Return a network whose class 1 is "bright somewhere", as torchvision's classifiers are exported."""
    return onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 18], producer_name: "pytorch">
        main_graph (float[N, 3, 64, 64] input) => (float[N, 2] output)
        <float[2, 2] f = {-1.0, 0.0, 1.0, 0.0}, float[2] b = {0.0, 0.0}> {
            mean = ReduceMean<keepdims = 1>(input)
            r = Sub(input, mean)
            k = Constant<value = float[2, 3, 1, 1] {0.3, 0.3, 0.3, -0.3, -0.3, -0.3}> ()
            c = Conv<strides = [1, 1]>(r, k)
            a = Relu(c)
            p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a)
            g = GlobalAveragePool(p)
            v = Flatten(g)
            output = Gemm<transB = 1>(v, f, b)
        }
        """
    )


CONVENTIONS = [
    Convention(
        "torchvision",
        "torch.onnx.export",
        "classifiers of torchvision, timm",
        "output [N, classes], logits",
        torch_logits,
        "a classifier",
    )
]
