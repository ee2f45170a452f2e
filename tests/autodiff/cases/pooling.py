"""Cases for onnxcam.autodiff.rules.pooling.

The reference evaluator lacks GlobalLpPool, MaxPool's indices where the stride is 1, and other axes than two in
GlobalMaxPool; it is wrong for MaxPool with SAME_LOWER and for LpPool with ceil_mode. ONNX Runtime checks these. In
GatherElements, a part of MaxPool's second derivative, the reference takes no more than 64 values.
"""

from typing import Any

import numpy as np

from tests.autodiff.cases import Case, case, distinct, normal
from tests.autodiff.cases.on_runtime import RuntimeCase, on_runtime


def max_pool(name: str, *shape: int, **attributes: Any) -> Case:
    return case("MaxPool", name, {"x": distinct(*shape)}, **attributes)


def on_runtime_pool(op: str, name: str, *shape: int, **attributes: Any) -> RuntimeCase:
    return on_runtime(op, name, {"x": distinct(*shape)}, step=0.04, **attributes)


def average_pool(name: str, *shape: int, **attributes: Any) -> Case:
    return case("AveragePool", name, {"x": normal(*shape)}, **attributes)


def lp_pool(name: str, *shape: int, **attributes: Any) -> Case:
    return case("LpPool", name, {"x": distinct(*shape)}, **attributes)


PLACES = {"x": normal(1, 2, 2, 2), "i": np.asarray([5, 7, 13, 15, 16, 19, 26, 28]).reshape(1, 2, 2, 2)}
CASES = [
    max_pool("plain", 1, 2, 4, 4, kernel_shape=[2, 2], strides=[2, 2]),
    max_pool("overlapping", 1, 2, 5, 6, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    max_pool("1d", 2, 2, 7, kernel_shape=[3], strides=[2], pads=[0, 1]),
    max_pool("3d", 1, 1, 4, 3, 4, kernel_shape=[2, 2, 2], strides=[2, 1, 2]),
    max_pool("dilations", 1, 1, 6, 7, kernel_shape=[2, 3], dilations=[3, 2]),
    max_pool("ceil", 1, 2, 6, 5, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    max_pool("ceil-pads", 1, 1, 6, 5, kernel_shape=[2, 3], strides=[3, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    max_pool("same", 1, 2, 5, 6, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    max_pool("valid", 1, 2, 5, 6, kernel_shape=[3, 2], strides=[2, 2], auto_pad="VALID"),
    max_pool("indices", 1, 2, 5, 4, kernel_shape=[3, 3], strides=[2, 1], outputs=2),
    average_pool("plain", 2, 2, 4, 4, kernel_shape=[2, 2], strides=[2, 2]),
    average_pool("all", 2, 2, 4, 3, kernel_shape=[4, 3]),
    average_pool("all, and pads", 2, 2, 4, 3, kernel_shape=[4, 3], pads=[1, 0, 1, 0], strides=[3, 1]),
    average_pool("rest", 1, 2, 5, 6, kernel_shape=[2, 2], strides=[2, 3]),
    average_pool("overlapping", 1, 2, 4, 5, kernel_shape=[3, 2]),
    average_pool("pads", 1, 2, 5, 4, kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 0, 1]),
    average_pool(
        "include-pad", 1, 2, 5, 4, kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 0, 1], count_include_pad=1
    ),
    average_pool("ceil", 1, 2, 6, 5, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    average_pool("ceil-pads", 1, 1, 7, 6, kernel_shape=[3, 3], strides=[3, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    average_pool(
        "ceil-include-pad",
        *(1, 1, 7, 6),
        kernel_shape=[3, 3],
        strides=[3, 2],
        pads=[1, 1, 0, 1],
        ceil_mode=1,
        count_include_pad=1,
    ),
    average_pool("dilations", 1, 2, 6, 7, opset=19, kernel_shape=[2, 3], dilations=[3, 2], pads=[1, 1, 1, 1]),
    average_pool(
        "dilations-include-pad",
        *(1, 2, 6, 7),
        opset=19,
        kernel_shape=[2, 3],
        strides=[1, 2],
        dilations=[3, 2],
        pads=[1, 1, 1, 2],
        count_include_pad=1,
    ),
    average_pool("same-upper", 1, 2, 5, 6, kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    average_pool("same-lower", 1, 2, 5, 4, kernel_shape=[2, 4], strides=[1, 3], auto_pad="SAME_LOWER"),
    average_pool("valid", 1, 2, 5, 4, kernel_shape=[2, 3], auto_pad="VALID"),
    average_pool("1d", 2, 2, 6, kernel_shape=[3], strides=[2], pads=[1, 0]),
    average_pool("3d", 1, 2, 3, 4, 2, kernel_shape=[2, 3, 2], strides=[1, 2, 1], pads=[1, 0, 0, 0, 1, 1]),
    average_pool("global", 2, 2, 3, 4, kernel_shape=[3, 4]),
    lp_pool("plain", 1, 2, 4, 5, kernel_shape=[2, 2], strides=[2, 1]),
    lp_pool("pads", 1, 2, 5, 4, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 0]),
    lp_pool("p1", 1, 2, 3, 4, kernel_shape=[2, 2], p=1),
    lp_pool("p3", 1, 2, 5, 4, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1], p=3),
    lp_pool("p4", 1, 2, 4, 3, kernel_shape=[2, 2], p=4),
    lp_pool("1d", 2, 2, 6, kernel_shape=[3], strides=[2], auto_pad="SAME_UPPER"),
    lp_pool("3d", 1, 2, 3, 4, 2, kernel_shape=[2, 3, 1], dilations=[2, 1, 1]),
    case("GlobalAveragePool", "plain", {"x": normal(2, 3, 3, 4)}),
    case("GlobalAveragePool", "1d", {"x": normal(2, 3, 4)}),
    case("GlobalAveragePool", "3d", {"x": normal(2, 2, 2, 3, 2)}),
    case("GlobalMaxPool", "plain", {"x": distinct(2, 3, 3, 4)}),
    case("MaxUnpool", "plain", PLACES, kernel_shape=[2, 2], strides=[2, 2]),
    on_runtime_pool("MaxPool", "stride-1", 1, 2, 4, 5, kernel_shape=[3, 2], pads=[1, 0, 1, 1]),
    on_runtime_pool("MaxPool", "stride-1-dilations", 1, 2, 6, 5, kernel_shape=[2, 2], dilations=[2, 1]),
    on_runtime_pool("MaxPool", "same-lower", 1, 2, 5, 6, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    on_runtime_pool("MaxPool", "column-major", 2, 2, 5, 6, kernel_shape=[3, 3], storage_order=1, outputs=2),
    on_runtime_pool("GlobalMaxPool", "1d", 2, 3, 5),
    on_runtime_pool("GlobalMaxPool", "3d", 2, 2, 2, 3, 2),
    *(on_runtime_pool("GlobalLpPool", f"p{p}", 2, 2, 3, 4, p=p) for p in (1, 2, 3, 4)),
    on_runtime_pool("LpPool", "ceil", 1, 2, 6, 5, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
]
