"""Cases for onnxcam.autodiff.rules.convolution."""

from typing import Any

from tests.autodiff.cases import Case, case, ints, normal
from tests.autodiff.cases.on_runtime import on_runtime


def conv(name: str, x: Any, w: Any, constants: tuple[str, ...] = ("w",), **options: Any) -> Case:
    return case("Conv", name, {"x": normal(*x), "w": normal(*w)}, constants, **options)


def transpose(name: str, x: Any, w: Any, constants: tuple[str, ...] = ("w",), **options: Any) -> Case:
    return case("ConvTranspose", name, {"x": normal(*x), "w": normal(*w)}, constants, **options)


def biased(op: str, name: str, x: Any, w: Any, b: int, **options: Any) -> Case:
    return case(op, name, {"x": normal(*x), "w": normal(*w), "b": normal(b)}, kernel_shape=list(w[2:]), **options)


# The reference evaluator is wrong for grouped ConvTranspose that is not depthwise, and lacks pads from an output_shape.
STRIDED = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
ON_RUNTIME: list[tuple[Any, ...]] = [
    ("ConvTranspose", "group", (2, 4, 3, 4), (4, 3, 3, 3), (), {"group": 2, "kernel_shape": [3, 3], **STRIDED}),
    ("ConvTranspose", "group-stride-1", (2, 4, 3, 4), (4, 1, 2, 3), ("w",), {"group": 2, "pads": [0, 1, 1, 1]}),
    (
        "ConvTranspose",
        "runtime-output-shape",
        (1, 2, 3, 4),
        (2, 2, 3, 3),
        ("w",),
        {"output_shape": [6, 8], "strides": [2, 2]},
    ),
    (
        "ConvTranspose",
        "runtime-output-shape-pads",
        (1, 2, 3, 3),
        (2, 2, 3, 2),
        ("w",),
        {"output_shape": [6, 5], **STRIDED},
    ),
    ("Conv", "wide-groups", (1, 18, 5, 4), (4, 9, 3, 3), (), {"group": 2, "kernel_shape": [3, 3], **STRIDED}),
    ("Conv", "wide-groups-1d", (1, 18, 8), (2, 9, 2), ("w",), {"group": 2, "strides": [3]}),
    ("Conv", "group-weights", (2, 4, 5, 4), (6, 2, 3, 3), (), {"group": 2, "kernel_shape": [3, 3], **STRIDED}),
]

# Cases with symbolic weights have a kernel_shape: without, ONNX infers no shape for y.
CASES = [
    conv("plain", (1, 2, 4, 4), (3, 2, 3, 3)),
    conv("1x1", (2, 3, 2, 2), (2, 3, 1, 1)),
    conv("1d", (2, 2, 5), (3, 2, 3), pads=[1, 1]),
    conv("3d", (1, 2, 3, 2, 3), (2, 2, 2, 2, 2), strides=[1, 2, 1], pads=[1, 0, 0, 0, 1, 0]),
    conv("pads", (1, 1, 4, 3), (2, 1, 3, 2), pads=[0, 1, 2, 0], kernel_shape=[3, 2]),
    conv("pads-beyond-kernel", (1, 2, 3, 3), (2, 2, 2, 1), pads=[2, 1, 1, 0]),
    conv("dilations", (1, 2, 6, 5), (2, 2, 2, 3), dilations=[2, 1], pads=[1, 1, 0, 1]),
    conv("strides", (1, 2, 5, 6), (2, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    conv("strides-dilations", (1, 2, 8, 7), (2, 2, 2, 2), strides=[2, 3], dilations=[3, 2], pads=[1, 0, 0, 1]),
    conv("strides-1x1", (1, 2, 4, 5), (3, 2, 1, 1), strides=[2, 2]),
    conv("strides-beyond-kernel", (1, 2, 7, 7), (2, 2, 2, 1), strides=[3, 3]),
    conv("group", (2, 4, 3, 3), (6, 2, 2, 3), group=2, pads=[1, 1, 0, 1]),
    conv("group-strides", (1, 4, 5, 4), (4, 2, 3, 2), group=2, strides=[2, 1], pads=[1, 0, 1, 1]),
    conv("depthwise", (1, 3, 4, 4), (3, 1, 3, 3), group=3, pads=[1, 1, 1, 1]),
    conv("depthwise-strides", (1, 3, 5, 4), (3, 1, 3, 3), group=3, strides=[2, 2], pads=[1, 1, 1, 1]),
    conv("depthwise-strides-1d", (2, 3, 8), (3, 1, 3), group=3, strides=[3], pads=[1, 1]),
    conv("depthwise-strides-dilations", (1, 2, 9, 5), (2, 1, 3, 2), group=2, strides=[2, 2], dilations=[2, 1]),
    conv("depthwise-strides-beyond-kernel", (1, 2, 5, 6), (2, 1, 1, 2), group=2, strides=[2, 3]),
    conv("depthwise-same-strides", (1, 3, 5, 6), (3, 1, 3, 3), group=3, strides=[2, 2], auto_pad="SAME_UPPER"),
    conv("depthwise-multiplier", (1, 2, 3, 4), (4, 1, 2, 2), group=2),
    conv("same-upper", (1, 2, 5, 6), (2, 2, 3, 4), auto_pad="SAME_UPPER"),
    conv("same-lower", (1, 2, 5, 4), (2, 2, 3, 4), auto_pad="SAME_LOWER"),
    # ONNX Runtime refuses dilations with automatic padding.
    conv(
        "same-dilations",
        (1, 2, 5, 4),
        (2, 2, 2, 2),
        auto_pad="SAME_UPPER",
        dilations=[1, 2],
        check={"runtime": False},
    ),
    conv("same-upper-strides", (1, 2, 5, 6), (2, 2, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    conv("same-lower-strides", (1, 2, 5, 6), (2, 2, 3, 2), auto_pad="SAME_LOWER", strides=[2, 3]),
    conv("same-strides-beyond-kernel", (1, 2, 4, 5), (2, 2, 1, 1), auto_pad="SAME_UPPER", strides=[2, 2]),
    conv("valid", (1, 2, 4, 4), (2, 2, 3, 3), auto_pad="VALID", strides=[2, 1]),
    conv("weights", (2, 2, 5, 4), (3, 2, 3, 3), (), strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
    conv("weights-rest", (2, 2, 7), (3, 2, 2), (), strides=[3], dilations=[2], kernel_shape=[2]),
    conv("weights-group", (2, 4, 4, 3), (4, 2, 2, 2), (), group=2, kernel_shape=[2, 2]),
    conv(
        "weights-depthwise",
        (2, 3, 4, 3),
        (3, 1, 3, 3),
        (),
        group=3,
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        kernel_shape=[3, 3],
    ),
    conv("weights-same", (2, 2, 5), (3, 2, 3), (), auto_pad="SAME_UPPER", strides=[2], kernel_shape=[3]),
    biased("Conv", "bias", (2, 2, 4, 3), (3, 2, 2, 2), 3, pads=[1, 0, 0, 1]),
    biased("Conv", "bias-1d", (2, 2, 4), (3, 2, 2), 3),
    transpose("plain", (1, 2, 3, 3), (2, 3, 3, 3)),
    transpose("1d", (2, 2, 4), (2, 3, 3), pads=[1, 1]),
    transpose("3d", (1, 2, 2, 2, 3), (2, 1, 2, 2, 1), strides=[1, 2, 1], pads=[1, 0, 0, 0, 1, 0]),
    transpose("strides", (1, 2, 3, 2), (2, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    transpose("strides-beyond-kernel", (1, 2, 3, 2), (2, 2, 1, 2), strides=[2, 3]),
    transpose("dilations", (1, 2, 3, 4), (2, 2, 2, 3), dilations=[2, 1], strides=[1, 2], pads=[0, 1, 1, 0]),
    transpose("output-padding", (1, 2, 3, 2), (2, 2, 3, 3), strides=[2, 3], pads=[1, 1, 1, 1], output_padding=[1, 2]),
    transpose("depthwise", (1, 3, 3, 2), (3, 1, 2, 2), group=3, strides=[2, 2]),
    transpose("same-upper", (1, 2, 3, 2), (2, 2, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    transpose("same-lower", (1, 2, 3, 2), (2, 2, 3, 4), auto_pad="SAME_LOWER", strides=[2, 1]),
    transpose("valid", (1, 2, 3, 2), (2, 2, 3, 3), auto_pad="VALID", strides=[2, 2]),
    transpose("output-shape", (1, 2, 3, 3), (2, 2, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2], output_shape=[6, 5]),
    transpose("weights", (2, 2, 3, 2), (2, 3, 3, 2), (), strides=[2, 2], pads=[1, 0, 0, 1], kernel_shape=[3, 2]),
    transpose("weights-depthwise", (2, 3, 3, 2), (3, 1, 2, 2), (), group=3, strides=[2, 2], kernel_shape=[2, 2]),
    biased("ConvTranspose", "bias", (2, 2, 3, 2), (2, 3, 2, 2), 3, strides=[2, 1]),
    *(
        on_runtime(op, name, {"x": normal(*x), "w": normal(*w)}, constants, **attributes)
        for op, name, x, w, constants, attributes in ON_RUNTIME
    ),
    case("Col2Im", "plain", {"x": normal(2, 4, 6), "image": ints(3, 4), "block": ints(2, 2)}, ("image", "block")),
    case(
        "Col2Im",
        "all",
        {"x": normal(1, 8, 12), "image": ints(5, 4), "block": ints(2, 2)},
        pads=[1, 0, 1, 1],
        strides=[2, 1],
        dilations=[2, 1],
    ),
    case("Col2Im", "3d", {"x": normal(1, 4, 8), "image": ints(2, 3, 3), "block": ints(1, 2, 2)}, ("image", "block")),
]
