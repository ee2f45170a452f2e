"""Conventions of detectors: heads without anchors, pairs in either order, sizes as inputs, units of scores."""

from __future__ import annotations

import numpy as np
import onnx

from onnxcam import Explainer, Explanation
from tests.zoo.convention import Box, Convention, picture
from tests.zoo.detectors import bins, gathered, has_no_box, row
from tests.zoo.sketch import Sketch, boxes, centred

__all__ = ["CONVENTIONS"]

STRIDES = (8, 16, 32)


def best(net: Sketch, table: str, classes: int = 3) -> Sketch:
    """Add the best 20 of `logits`, whose boxes are *table*."""
    net.scores(classes=classes, category=min(1, classes - 1))
    net.add("s = Sigmoid(logits)")
    net.best("s", table)
    return net


def grid(net: Sketch, name: str, stride: int, values: np.ndarray | list[float]) -> str:
    """Add the tensor *name* [1, K, h, w] with *values* [K] in each cell."""
    size = 64 // stride
    net.constant(f"{name}g", np.tile(np.asarray(values, np.float32).reshape(1, -1, 1, 1), (1, 1, size, size)))
    net.constant(f"{name}w", np.zeros((len(values), 4 if stride == 8 else 1, 1, 1), np.float32))
    net.add(f"{name}n = Conv({'h' if stride == 8 else f'f{stride}'}, {name}w)", f"{name} = Add({name}n, {name}g)")
    return name


def rt_detr() -> onnx.ModelProto:
    """Return labels, boxes and scores; boxes are scaled by `orig_target_sizes`, width first."""
    net = Sketch("images")
    net.moved("table", boxes() / 64), net.constant("second", [1])
    net.add("whole = Cast<to = 1>(orig_target_sizes)", "both = Concat<axis = 1>(whole, whole)")
    net.add("unit = Unsqueeze(both, second)", "placed = Mul(table, unit)")
    best(net, "placed").add("labels = Identity(of)", "boxes = Identity(box)", "scores = Identity(score)")
    outputs = "int64[1, 20] labels", "float[1, 20, 4] boxes", "float[1, 20] scores"
    return sized(net, outputs, "int64[1, 2] orig_target_sizes")


def sized(net: Sketch, outputs: tuple[str, ...], *inputs: str) -> onnx.ModelProto:
    """Return the model of *net* with further *inputs*, each as ``float[1, 2] size``."""
    image, net.image = net.image, f"{net.image}, {', '.join(inputs)}"
    model = net.model(*outputs)
    net.image = image
    return model


def pp_yoloe() -> onnx.ModelProto:
    """Return [K, 6] and the number of boxes; boxes are divided by `scale_factor`, height first."""
    net = gathered("category", "score", "box")
    net.constant("swap", [1, 0, 1, 0])
    net.add("factor = Gather<axis = 1>(scale_factor, swap)", "scaled = Div(box, factor)")
    net.add("multiclass_nms3_0_tmp_0 = Concat<axis = 1>(category, score, scaled)")
    net.add("length = Shape<end = 1>(y)", "multiclass_nms3_0_tmp_2 = Cast<to = 6>(length)")
    outputs = "float[K, 6] multiclass_nms3_0_tmp_0", "int32[1] multiclass_nms3_0_tmp_2"
    return sized(net, outputs, "float[1, 2] scale_factor")


def classes_first() -> onnx.ModelProto:
    """Return boxes [1, B, 4] beside scores [1, C, B]."""
    net = Sketch("image")
    net.scores()
    net.add("s = Sigmoid(logits)", "concat_14_tmp_0 = Transpose<perm = [0, 2, 1]>(s)")
    net.moved("tmp_17", boxes())
    return net.model("float[1, 84, 4] tmp_17", "float[1, 3, 84] concat_14_tmp_0")


def sides_first() -> onnx.ModelProto:
    """Return boxes [1, 4, B] beside scores [1, C, B]."""
    net = Sketch()
    net.scores()
    net.moved("table", centred(boxes()))
    net.add("s = Sigmoid(logits)", "scores = Transpose<perm = [0, 2, 1]>(s)")
    net.add("boxes = Transpose<perm = [0, 2, 1]>(table)")
    return net.model("float[1, 4, 84] boxes", "float[1, 3, 84] scores")


def darknet_pytorch() -> onnx.ModelProto:
    """Return boxes [1, B, 1, 4] beside confs [1, B, C]."""
    net = Sketch("input")
    net.scores(anchors=3)
    net.moved("table", boxes(anchors=3) / 64), net.constant("third", [2])
    net.add("confs = Sigmoid(logits)", "boxes = Unsqueeze(table, third)")
    return net.model("float[1, 252, 1, 4] boxes", "float[1, 252, 3] confs")


def create_ml() -> onnx.ModelProto:
    """Return confidence [K, C] beside coordinates [K, 4]."""
    net = gathered("box")
    net.moved("centres", centred(boxes()) / 64)
    net.add("whole = Squeeze(s, c0)", "confidence = Gather<axis = 0>(whole, row)")
    net.add("bare2 = Squeeze(centres, c0)", "coordinates = Gather<axis = 0>(bare2, row)")
    return net.model("float[K, 3] confidence", "float[K, 4] coordinates")


def centernet() -> onnx.ModelProto:
    """Return heat maps, sizes and offsets of one grid."""
    net = Sketch("input")
    net.add(f"hm = Sigmoid({net.logits(8)})")
    grid(net, "wh", 8, [2, 2]), grid(net, "reg", 8, [0.5, 0.5])
    return net.model("float[1, 3, 8, 8] hm", "float[1, 2, 8, 8] wh", "float[1, 2, 8, 8] reg")


def centerface() -> onnx.ModelProto:
    """Return a heat map, logarithms of sizes, offsets (y first) and landmarks, with numbers as names."""
    net = Sketch("input")
    net.add(f"n537 = Sigmoid({net.logits(8, 1, 0)})")
    grid(net, "n538", 8, np.log([2, 2])), grid(net, "n539", 8, [0, 0]), grid(net, "n540", 8, [0.3] * 10)
    shapes = (("n537", 1), ("n538", 2), ("n539", 2), ("n540", 10))
    return net.model(*(f"float[1, {width}, 8, 8] {name}" for name, width in shapes))


def detectnet() -> onnx.ModelProto:
    """Return a coverage for each class, and for each four distances in units of 35 pixels."""
    net = Sketch("input_1", "resnet34", "keras2onnx")
    net.add(f"output_cov = Sigmoid({net.logits(16)})")
    grid(net, "output_bbox", 16, [0, 0, 16 / 35, 16 / 35] * 3)
    return net.model("float[1, 3, 4, 4] output_cov", "float[1, 12, 4, 4] output_bbox")


def each(head: str, *outputs: str) -> onnx.ModelProto:
    """Return for each stride the *outputs*, ``{s}`` is the stride, of *head*, a name in `HEADS`."""
    net, found = Sketch("input"), []
    for stride in STRIDES:
        HEADS[head](net, stride)
        found += [text.format(s=stride, n=64 // stride, b=(64 // stride) ** 2) for text in outputs]
    return net.model(*found)


def nanodet(net: Sketch, stride: int) -> None:
    """Lists of class scores and of distributions."""
    net.add(f"cls_pred_stride_{stride} = Sigmoid({net.listed(net.logits(stride, 80), 80)})")
    net.moved(f"dis_pred_stride_{stride}", bins((stride,), 8))


def joined(net: Sketch, stride: int) -> None:
    """Distributions, then logits of three classes, that no metadata count."""
    grid(net, f"reg{stride}", stride, bins((stride,), 16)[0])
    net.add(f"output{stride} = Concat<axis = 1>(reg{stride}, {net.logits(stride)})")


def with_masks(net: Sketch, stride: int) -> None:
    """Distributions, class scores and coefficients of masks."""
    grid(net, f"reg{stride}", stride, bins((stride,), 16)[0]), grid(net, f"mask{stride}", stride, [0.5] * 32)
    net.add(f"cls{stride} = Sigmoid({net.logits(stride, 80)})")


def rtmdet(net: Sketch, stride: int) -> None:
    """Logits, and distances in pixels: exponentials times the stride."""
    net.constant(f"stride{stride}", np.float32(stride).reshape(()))
    grid(net, f"reg{stride}", stride, np.log([4 / stride, 4 / stride, 12 / stride, 12 / stride]))
    net.add(f"cls_score_{stride} = Identity({net.logits(stride)})", f"exp{stride} = Exp(reg{stride})")
    net.add(f"bbox_pred_{stride} = Mul(exp{stride}, stride{stride})")


def darknet(net: Sketch, stride: int) -> None:
    """Three anchors, each with a box, an objectness and three classes, before sigmoid."""
    weight, bias = np.zeros((3, 8)), np.full((3, 8), -5.0)
    weight[:, [4, 6]], bias[:, :4] = 10, 0
    net.constant(f"w{stride}", weight.reshape(24, 1, 1, 1)), net.constant(f"b{stride}", bias.reshape(-1))
    net.add(f"conv{stride} = Conv(f{stride}, w{stride}, b{stride})")


def yolov4(net: Sketch, stride: int) -> None:
    """The same as [1, h, w, 3, 8]."""
    darknet(net, stride)
    net.constant(f"to{stride}", [1, 64 // stride, 64 // stride, 3, 8])
    net.add(
        f"last{stride} = Transpose<perm = [0, 2, 3, 1]>(conv{stride})", f"y{stride} = Reshape(last{stride}, to{stride})"
    )


HEADS = {
    "nanodet": nanodet,
    "joined": joined,
    "masks": with_masks,
    "rtmdet": rtmdet,
    "darknet": darknet,
    "yolov4": yolov4,
}


def yolov2() -> onnx.ModelProto:
    """Return [1, 5 · (5 + C), h, w]: raw, five anchors a cell."""
    net = Sketch("image", "g", "WinMLTools")
    weight, bias = np.zeros((5, 25)), np.zeros((5, 25))
    weight[:, [4, 6]], bias[:, 4] = 10, -5
    net.constant("w", weight.reshape(125, 1, 1, 1)), net.constant("b", bias.reshape(-1))
    net.add("grid = Conv(f16, w, b)")
    return net.model("float[1, 125, 4, 4] grid")


def rotated() -> onnx.ModelProto:
    """Return dets [1, K, 6], centre, size, angle and score, beside labels [1, K]."""
    net = Sketch("input")
    best(net, net.moved("table", np.concatenate([centred(boxes()), np.zeros((84, 1))], 1)))
    net.add("dets = Concat<axis = 2>(box, score3)", "labels = Identity(of)")
    return net.model("float[1, 20, 6] dets", "int64[1, 20] labels")


def flat_poses() -> onnx.ModelProto:
    """Return [K, 6 + 51]: picture, corners, score, keypoints."""
    net = gathered("batch", "box", "score")
    net.moved("joints", np.random.default_rng(0).uniform(0, 64, (84, 51)))
    net.add("bare2 = Squeeze(joints, c0)", "points = Gather<axis = 0>(bare2, row)")
    net.add("graph2_flat_predictions = Concat<axis = 1>(y, points)")
    return net.model("float[K, 57] graph2_flat_predictions")


def automl() -> onnx.ModelProto:
    """Return [1, K, 7]: picture, corners with y first, score, class."""
    net = Sketch("image_arrays", "tf2onnx", "tf2onnx")
    best(net, net.moved("table", boxes()[:, [1, 0, 3, 2]]))
    net.add(f"detections = Concat<axis = 2>({net.moved('zeros', np.zeros((20, 1)))}, box, score3, category3)")
    return channels_last(net.model("float[1, 20, 7] detections"))


def channels_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return *model* with an image [1, H, W, 3]."""
    image = model.graph.input[0]
    for node in model.graph.node:
        node.input[:] = ["upright" if name == image.name else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Transpose", [image.name], ["upright"], perm=[0, 3, 1, 2]))
    for axis, length in zip(image.type.tensor_type.shape.dim, (1, 64, 64, 3), strict=True):
        axis.dim_value = length
    return model


def lite() -> onnx.ModelProto:
    """Return scores, boxes and classes under names that do not tell them apart."""
    net = Sketch("serving_default_images_0", "tf2onnx", "tf2onnx")
    best(net, net.moved("table", boxes()[:, [1, 0, 3, 2]] / 64))
    net.add("call_3 = Identity(score)", "call_2 = Identity(box)", "call_0 = Identity(category)")
    return channels_last(net.model("float[1, 20] call_3", "float[1, 20, 4] call_2", "float[1, 20] call_0"))


def percent() -> onnx.ModelProto:
    """Return [1, K, 6] with scores from 0 to 100."""
    net = Sketch()
    best(net, net.moved("table", boxes()))
    net.constant("hundred", np.full(1, 100, np.float32))
    net.add("parts = Mul(score3, hundred)", "output = Concat<axis = 2>(box, parts, category3)")
    return net.model("float[1, 20, 6] output")


def integers() -> onnx.ModelProto:
    """Return boxes, scores and classes of each candidate as uint8."""
    net = Sketch("image")
    net.scores()
    net.constant("c1", np.float32(0.3).reshape(())), net.constant("c2", np.float32(1 / 256).reshape(()))
    net.constant("ten", np.array(10, np.uint8)), net.constant("none", np.array(0, np.uint8))
    net.add("s = Sigmoid(logits)", "most = ReduceMax<axes = [2], keepdims = 0>(s)")
    net.add("which = ArgMax<axis = 2, keepdims = 0>(s)", "class_idx = Cast<to = 2>(which)")
    net.add(
        f"boxes = QuantizeLinear({net.moved('table', boxes())}, c1, ten)", "scores = QuantizeLinear(most, c2, none)"
    )
    return net.model("uint8[1, 84, 4] boxes", "uint8[1, 84] scores", "uint8[1, 84] class_idx")


def corner_and_size() -> onnx.ModelProto:
    """Return scores beside boxes of corner and size."""
    net = Sketch()
    net.scores()
    table = boxes()
    net.moved("boxes", np.concatenate([table[:, :2], table[:, 2:] - table[:, :2]], 1))
    net.add("scores = Sigmoid(logits)")
    return net.model("float[1, 84, 4] boxes", "float[1, 84, 3] scores")


def raw_beside() -> onnx.ModelProto:
    """Return decoded candidates [1, 3 B, 5 + C], and the grids that they are made of."""
    net, outputs = Sketch(), []
    net.scores(anchors=3)
    net.add("s = Sigmoid(logits)", "o = ReduceMax<axes = [2]>(s)")
    net.add(f"output = Concat<axis = 2>({net.moved('table', centred(boxes(anchors=3)))}, o, s)")
    for stride in STRIDES:
        size = 64 // stride
        net.constant(f"to{stride}", [1, 3, 8, size, size])
        net.add(f"five{stride} = Reshape({net.logits(stride, 8, 6, 3)}, to{stride})")
        net.add(f"raw{stride} = Transpose<perm = [0, 1, 3, 4, 2]>(five{stride})")
        outputs.append(f"float[1, 3, {size}, {size}, 8] raw{stride}")
    return net.model("float[1, 252, 8] output", *outputs)


INSIDE: Box = (56, 32, 72, 48)
CELL: Box = (32, 16, 48, 32)
"""The square in an image of 96 × 96."""


def inside(nodes: str, **constants: np.ndarray) -> onnx.ModelProto:
    """Return YOLOv8 of 64 × 64 behind *nodes* that make its `images` of a `frame` of 96 × 96."""
    net = Sketch("images")
    net.scores()
    net.add("s = Sigmoid(logits)", f"rows = Concat<axis = 2>({net.moved('table', centred(boxes()))}, s)")
    net.add("output0 = Transpose<perm = [0, 2, 1]>(rows)")
    for name, value in constants.items():
        net.constant(name, value)
    net.lines.insert(0, nodes)
    net.image = "frame"
    model = net.model("float[1, 7, 84] output0")
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_value = 96
    return model


def cropped() -> onnx.ModelProto:
    """Return a detector of the middle of its image."""
    nodes = "images = Slice(frame, from, to, space)"
    return inside(nodes, **{"from": np.array([16, 16]), "to": np.array([80, 80]), "space": np.array([2, 3])})


def shrunk() -> onnx.ModelProto:
    """Return a detector that resizes its image."""
    nothing = np.zeros(0, np.float32)
    nodes = 'images = Resize<mode = "linear">(frame, none, none, shape)'
    return inside(nodes, none=nothing, shape=np.array([1, 3, 64, 64]))


def large() -> np.ndarray:
    """Return an image of 96 × 96."""
    return picture(INSIDE, (96, 96))


def lies_inside(explainer: Explainer, found: Explanation) -> None:
    """The middle of the box is on the square of the larger image."""
    assert found.detection is not None
    x1, y1, x2, y2 = found.detection
    assert INSIDE[0] <= (x1 + x2) / 2 <= INSIDE[2]
    assert INSIDE[1] <= (y1 + y2) / 2 <= INSIDE[3]


def lies_inside_larger(explainer: Explainer, found: Explanation) -> None:
    """The box has grown with the image."""
    lies_inside(explainer, found)
    x1, _, x2, _ = found.detection or (0, 0, 0, 0)
    assert x2 - x1 > 20


LARGE = {"image": large, "square": INSIDE}
UNKNOWN = {"check": has_no_box, "warns": "cannot be decoded"}
CONVENTIONS: list[Convention] = [
    row(
        "lyuwenyu: RT-DETR",
        "RT-DETR, D-FINE, DEIM",
        "labels, boxes, scores; orig_target_sizes",
        rt_detr,
        {"inputs": "'orig_target_sizes'"},
    ),
    row(
        "PaddleDetection: scale_factor",
        "PP-YOLOE, PicoDet",
        "[K, 6], bbox_num; scale_factor",
        pp_yoloe,
        {"inputs": "'scale_factor'"},
    ),
    row(
        "PaddleDetection: without NMS",
        "PP-YOLOE, exclude_nms",
        "[N, B, 4], [N, C, B]",
        classes_first,
        {"scores": "'concat_14_tmp_0'"},
    ),
    row(
        "Ultralytics: split for int8",
        "Hailo, Qualcomm, QDQ files",
        "[N, 4, B], [N, C, B]",
        sides_first,
        {"boxes": "'boxes'"},
    ),
    row(
        "Tianxiaomo: YOLOv4",
        "pytorch-YOLOv4, Darknet",
        "boxes [N, B, 1, 4], confs [N, B, C]",
        darknet_pytorch,
        {"scores": "'confs'"},
    ),
    row(
        "Apple: Create ML",
        "coremltools",
        "confidence [K, C], coordinates [K, 4]",
        create_ml,
        {"scores": "'confidence'"},
    ),
    row("xingyizhou: CenterNet", "CenterNet", "hm, wh, reg", centernet, {"boxes": "sizes in strides"}),
    row("Star-Clouds: CenterFace", "CenterFace", "537, 538, 539, 540", centerface, {"boxes": "y first"}),
    row(
        "NVIDIA: DetectNet_v2",
        "TAO: PeopleNet, TrafficCamNet",
        "output_cov, output_bbox [N, 4 C, h, w]",
        detectnet,
        {"boxes": "35 pixels"},
        image=lambda: picture(CELL),
        square=CELL,
    ),
    row(
        "RangiLyu: NanoDet heads",
        "NanoDet, PicoDet",
        "cls_pred_stride_8 [N, B, 80], dis_pred_stride_8 [N, B, 32] × 3",
        lambda: each("nanodet", "float[1, {b}, 80] cls_pred_stride_{s}", "float[1, {b}, 32] dis_pred_stride_{s}"),
        {"boxes": "distributions"},
    ),
    row(
        "NPU: YOLOv8 joined, own classes",
        "Axera, Horizon",
        "[N, 64 + C, h, w] × 3 without names",
        lambda: each("joined", "float[1, 67, {n}, {n}] output{s}"),
        {"boxes": "distributions"},
    ),
    row(
        "Rockchip: YOLOv8-seg",
        "rknn_model_zoo",
        "[N, 64 | 80 | 32, h, w] × 3",
        lambda: each(
            "masks", "float[1, 64, {n}, {n}] reg{s}", "float[1, 80, {n}, {n}] cls{s}", "float[1, 32, {n}, {n}] mask{s}"
        ),
        {"boxes": "distributions"},
    ),
    row(
        "OpenMMLab: RTMDet heads",
        "MMYOLO, RTMDet",
        "[N, C, h, w], [N, 4, h, w] × 3",
        lambda: each("rtmdet", "float[1, 3, {n}, {n}] cls_score_{s}", "float[1, 4, {n}, {n}] bbox_pred_{s}"),
        {"boxes": "in pixels to four sides"},
    ),
    row(
        "NVIDIA: Darknet",
        "TensorRT's YOLOv3 sample",
        "[N, 3 · (5 + C), h, w] × 3 without names",
        lambda: each("darknet", "float[1, 24, {n}, {n}] conv{s}"),
        {"boxes": "unknown anchors"},
        **UNKNOWN,
    ),
    row(
        "ONNX: YOLOv4",
        "ONNX model zoo",
        "[N, h, w, 3, 5 + C] × 3",
        lambda: each("yolov4", "float[1, {n}, {n}, 3, 8] y{s}"),
        {"boxes": "unknown anchors"},
        **UNKNOWN,
    ),
    row(
        "ONNX: Tiny YOLOv2",
        "ONNX model zoo, Custom Vision",
        "grid [N, 125, h, w]",
        yolov2,
        {"scores": "'grid'"},
        **UNKNOWN,
    ),
    row("OpenMMLab: rotated", "MMRotate", "dets [N, K, 6], labels", rotated, {"boxes": "centre and size"}),
    row("Deci: YOLO-NAS-Pose", "super-gradients", "[K, 57]", flat_poses, {"scores": "batch, box, score"}),
    row("Google: EfficientDet", "automl", "detections [N, K, 7]", automl, {"boxes": "corners y1 x1"}),
    row(
        "Google: EfficientDet-Lite",
        "TFLite as ONNX",
        "scores, boxes, classes without names",
        lite,
        {"scores": "'call_3'"},
    ),
    row("Any: percent", "camera firmware", "[N, K, 6], scores to 100", percent, {"boxes": "corners x1"}),
    row("Qualcomm: integers", "AI Hub", "boxes, scores, class_idx as uint8", integers, {"scores": "'scores'"}),
    row("Any: corner and size", "COCO's order", "scores, boxes xywh", corner_and_size, {"boxes": "corner and size"}),
    row(
        "Any: cropped inside",
        "apps",
        "the graph crops its image",
        cropped,
        {"boxes": "output0"},
        check=lies_inside,
        **LARGE,
    ),
    row(
        "Any: resized inside",
        "apps",
        "the graph resizes its image",
        shrunk,
        {"boxes": "output0"},
        check=lies_inside_larger,
        **LARGE,
    ),
    row(
        "Ultralytics: v5 with grids",
        "YOLOv5 1 to 6",
        "[N, 3 B, 5 + C], [N, 3, h, w, 5 + C] × 3",
        raw_beside,
        {"scores": "'output'"},
    ),
]
