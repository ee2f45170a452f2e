"""Conventions of networks that crop, pad, mirror or transpose their input: the map lies where the object is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import onnx

from onnxcam import Explainer, Explanation
from tests.zoo.convention import SQUARE, Convention

__all__ = ["CONVENTIONS"]

STEM = "c = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(p, k)"


def network(
    before: str,
    body: str = STEM,
    size: str = "64, 64",
    layout: str = "N, 3, {}",
    head: str = "v = Flatten(g)",
    opset: int = 18,
) -> Callable[[], onnx.ModelProto]:
    """Return the maker of a classifier of brightness that makes *p* of the input *x* by *before*, then *body*.

    ``a := [1, 2]`` is a constant.
    """
    weights = ", ".join(["0.04"] * 27)
    text = f"""
        <ir_version: 8, opset_import: ["": {opset}], producer_name: "pytorch">
        main_graph (float[{layout.format(size)}] x) => (float[N, 2] output)
        <float[2, 1] f = {{1.0, -1.0}}> {{
            k = Constant<value = float[1, 3, 3, 3] {{{weights}}}> ()
            {before}
            {body}
            a = Relu(c)
            g = GlobalMaxPool(a)
            {head}
            output = Gemm<transB = 1>(v, f)
        }}
    """
    return lambda: onnx.parser.parse_model(re.sub(r":= (\[[^\]]*\])", r"= Constant<value_ints = \1> ()", text))


def place(
    name: str,
    producer: str,
    users: str,
    make: Callable[[], onnx.ModelProto],
    *,
    warns: str = "",
    measured: str = "",
    target: int = 0,
) -> Convention:
    signature = "output [N, 2] of a part of the input"
    square = None if warns else SQUARE
    row = Convention(name, producer, users, signature, make, "a classifier", square=square, target=target)
    return replace(row, warns=warns) if warns else replace(row, warns=measured, check=in_square)


def in_square(explainer: Explainer, found: Explanation) -> None:
    """The map is weak far from the square, and nothing is said about its place."""
    assert not any("may lie" in warning for warning in found.warnings)
    x1, y1, x2, y2 = map(int, SQUARE)
    far = found.map.copy()
    far[max(0, y1 - 8) : y2 + 8, max(0, x1 - 8) : x2 + 8] = 0
    assert far.max() < 0.5


CONVENTIONS = [
    place("centre-crop", "torch.onnx.export", "torchvision's CenterCrop inside the module",
          network("s := [6, 6]  e := [58, 58]  d := [2, 3]  p = Slice(x, s, e, d)")),
    place("central-crop-channels-last", "tf2onnx", "Keras' CenterCrop layer", network(
        "s := [0, 6, 6, 0]  e := [9223372036854775807, 58, 58, 9223372036854775807]  q = Slice(x, s, e) "
        "p = Transpose<perm = [0, 3, 1, 2]>(q)", size="64, 64, 3", layout="N, {}")),
    place("centercroppad", "onnxruntime-extensions", "models with pre- and postprocessing (CenterCrop, LetterBox)",
          network("n := [50, 80]  p = CenterCropPad<axes = [2, 3]>(x, n)")),
    place("flip", "torch.onnx.export", "torch.flip", network(
        "s := [-1]  e := [-9223372036854775807]  d := [3]  t := [-1]  p = Slice(x, s, e, d, t)")),
    place("flip-left-right", "tf2onnx", "tf.image.flip_left_right, tf.reverse", network(
        "q = Transpose<perm = [0, 3, 2, 1]>(x)  n := [64]  r = ReverseSequence<time_axis = 1, batch_axis = 0>(q, n) "
        "p = Transpose<perm = [0, 3, 2, 1]>(r)", size="64, 64", layout="1, 3, {}")),
    place("flip-by-gather", "PaddlePaddle", "paddle.flip on old opsets", network(
        f"i := [{', '.join(map(str, range(63, -1, -1)))}]  p = Gather<axis = 3>(x, i)")),
    place("letterbox-inside", "onnxruntime-extensions", "YOLO with its letterbox in the file",
          network("n := [0, 0, 0, 32, 0, 0, 0, 32]  p = Pad(x, n)")),
    place("pad-to-stride", "mmdeploy", "Pad to a multiple of 32 below and to the right",
          network("n := [0, 0, 0, 0, 0, 0, 32, 32]  p = Pad(x, n)")),
    place("crop-and-resize", "tf2onnx", "tf.image.crop_and_resize with fixed boxes", network(
        "r = Constant<value_floats = [0.0, 0.0, 0.1, 0.2, 1.0, 1.0, 0.9, 1.0]> ()  o := [1, 3, 64, 64] "
        'p = Resize<coordinate_transformation_mode = "tf_crop_and_resize", mode = "linear">(x, r, , o)',
        layout="1, 3, {}")),
    place("crop-then-resize", "torch.onnx.export", "a crop of the upper part, resized to the backbone's size", network(
        "s := [0]  e := [48]  d := [2]  q = Slice(x, s, e, d)  o := [1, 3, 64, 64]  "
        'p = Resize<mode = "linear">(q, , , o)', layout="1, 3, {}")),
    place("width-first", "exporters of column-major frameworks", "height and width transposed before the first layer",
          network("p = Transpose<perm = [0, 1, 3, 2]>(x)")),
    place("focus", "Ultralytics YOLOv5 1 to 5, YOLOX", "the Focus layer: four slices of every second pixel", network("""
        z := [0]  o := [1]  m := [1000]  t := [2]  h := [2]  w := [3]
        a0 = Slice(x, z, m, h, t)  a1 = Slice(x, o, m, h, t)
        b0 = Slice(a0, z, m, w, t)  b1 = Slice(a1, z, m, w, t)  b2 = Slice(a0, o, m, w, t)  b3 = Slice(a1, o, m, w, t)
        q = Concat<axis = 1>(b0, b1, b2, b3)  n := [3]  e := [0]  i := [1]  p = Slice(q, e, n, i)""",
        "c = Conv<pads = [1, 1, 1, 1]>(p, k)")),
    place("valid-convolutions", "Caffe, CNTK", "LeNet and others without padding", network(
        "p = Identity(x)", "c1 = Conv<strides = [2, 2]>(p, k)  l = Constant<value = float[1, 1, 5, 5] {"
        + ", ".join(["0.04"] * 25) + "}> ()  c2 = Conv(c1, l)  c3 = Conv(c2, l)  c = Conv(c3, l)")),
    place("same-upper", "tf2onnx", "TensorFlow's SAME: padding after the image", network(
        "p = Identity(x)", 'c = Conv<strides = [2, 2], auto_pad = "SAME_UPPER">(p, k)')),
    place("explicit-padding", "keras2onnx, tf2onnx", "Keras' ZeroPadding2D before a strided convolution", network(
        "n := [0, 0, 0, 0, 0, 0, 1, 1]  p = Pad(x, n)", "c = Conv<strides = [2, 2]>(p, k)")),
    place("warp-by-constants", "torch.onnx.export", "grid_sample with a fixed crop, kornia's crop_by_boxes", network(
        "t = Constant<value = float[1, 2, 3] {0.6, 0.0, 0.3, 0.0, 0.6, -0.2}> ()  s := [1, 3, 64, 64]  "
        "d = AffineGrid(t, s)  p = GridSample(x, d)", opset=20, layout="1, 3, {}"),
        measured="by runs"),
    place("fixed-region", "torchvision", "roi_align with a fixed region of interest", network(
        "r = Constant<value = float[1, 4] {8.0, 4.0, 60.0, 56.0}> ()  b := [0]  "
        "p = RoiAlign<output_height = 32, output_width = 32>(x, r, b)", layout="1, 3, {}"), measured="by runs"),
    place("crop-by-gathernd", "tf2onnx", "tf.gather_nd of rows of the image", network(
        "q = Transpose<perm = [3, 0, 1, 2]>(x)  i = Constant<value = int64[40, 1] {"
        + ", ".join(map(str, range(22, 62))) + "}> ()  r = GatherND(q, i)  p = Transpose<perm = [1, 2, 3, 0]>(r)",
        layout="1, 3, {}"), measured="by runs"),
    place("transposed-by-einsum", "tf2onnx", "einops and tf.einsum that exchange height and width",
          network('p = Einsum<equation = "nchw->ncwh">(x)', layout="1, 3, {}"), measured="by runs"),
    place("nearest-by-gather", "MNN, NCNN converters", "nearest resizing by lists of indices", network(
        f"i := [{', '.join(str(j * 3 // 2) for j in range(42))}]  p = Gather<axis = 3>(x, i)", layout="1, 3, {}")),
    place("repeated", "torch.onnx.export", "Tensor.repeat of the image beside itself", network(
        "r := [1, 1, 1, 2]  p = Tile(x, r)", layout="1, 3, {}"), warns="the map may lie at another place of the image"),
    place("tiles-in-the-batch", "SAHI-like exports", "tiles of the image, stacked and pooled", network(
        "h := [32, 32]  a1, a2 = Split<axis = 3>(x, h)  p = Concat<axis = 0>(a1, a2)",
        head="v0 = Flatten(g)  z := [0]  v = ReduceMax<keepdims = 1>(v0, z)", layout="1, 3, {}"),
        warns="the map may lie at another place of the image"),
    place("five-crops", "torch.onnx.export", "crops in the batch whose scores are averaged", network("""
        d := [2, 3]  s1 := [0, 0]  e1 := [40, 40]  s2 := [24, 24]  e2 := [64, 64]
        q1 = Slice(x, s1, e1, d)  q2 = Slice(x, s2, e2, d)  p = Concat<axis = 0>(q1, q2)""",
        head="v0 = Flatten(g)  z := [0]  v = ReduceMean<keepdims = 1>(v0, z)", layout="1, 3, {}"),
        warns="the map may lie at another place of the image"),
    place("deep-valid-stack", "TensorFlow's Inception, ENAS and other stems without padding", "seven valid windows",
          network("p = Identity(x)", "c1 = Conv<strides = [2, 2]>(p, k)  l = Constant<value = float[1, 1, 3, 3] {"
          + ", ".join(["0.12"] * 9) + "}> ()  c2 = Conv(c1, l)  c3 = Conv(c2, l)  "
          "c4 = MaxPool<kernel_shape = [3, 3], strides = [2, 2]>(c3)  c5 = Conv(c4, l)  c = Conv(c5, l)")),
    place("mirrored-sum", "torch.onnx.export", "test-time augmentation in the graph", network(
        "s := [-1]  e := [-9223372036854775807]  d := [3]  t := [-1]  q = Slice(x, s, e, d, t)  p = Max(x, q)"),
        warns="the map may lie at another place of the image"),
]  # fmt: skip
