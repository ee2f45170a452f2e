"""Conventions of detectors."""

from __future__ import annotations

import numpy as np
import onnx

from onnxcam import Explainer, Explanation
from tests.zoo.convention import SQUARE, Convention
from tests.zoo.sketch import NAMES, Sketch, boxes, centred

__all__ = ["CONVENTIONS"]

B, C = 84, 3
OFFSETS = np.random.default_rng(0).normal(0, 1, (B, 4))


def ultralytics(task: str, names: dict[int, str] | None = None, **more: str) -> dict[str, str]:
    """Return the metadata that Ultralytics' exporter writes."""
    known = {"author": "Ultralytics", "task": task, "stride": "32", "imgsz": "[64, 64]", "batch": "1"}
    return {**known, "names": str(names or NAMES), **more}


def lies_on_the_square(explainer: Explainer, found: Explanation) -> None:
    """The middle of the box is on the square."""
    assert found.detection is not None
    x1, y1, x2, y2 = found.detection
    assert SQUARE[0] <= (x1 + x2) / 2 <= SQUARE[2]
    assert SQUARE[1] <= (y1 + y2) / 2 <= SQUARE[3]
    assert found.probability is not None
    assert found.probability > 0.5
    assert not any("decode" in warning for warning in found.warnings)


def finds_the_square(explainer: Explainer, found: Explanation) -> None:
    """The box is that of a cell of the square."""
    lies_on_the_square(explainer, found)
    x1, y1, x2, y2 = found.detection or (0, 0, 0, 0)
    assert 8 <= x2 - x1 <= 24
    assert 8 <= y2 - y1 <= 24


def is_a_square(explainer: Explainer, found: Explanation) -> None:
    """The class is the square's, by name."""
    finds_the_square(explainer, found)
    assert found.label == "square"


def has_no_box(explainer: Explainer, found: Explanation) -> None:
    """The score of the square's class is explained without a box."""
    assert found.detection is None
    assert found.words.startswith("detection=0")


def dense(extra: np.ndarray | None = None, classes: int = C, first: bool = True) -> Sketch:
    """Return a sketch whose `output0` is [1, 4 + classes + extra, B]."""
    net = Sketch()
    net.scores(classes=classes, category=min(1, classes - 1))
    net.add("s = Sigmoid(logits)")
    parts = [net.moved("table", centred(boxes())), "s", *([] if extra is None else [net.moved("extra", extra)])]
    net.add(f"rows = Concat<axis = 2>({', '.join(parts)})", "output0 = Transpose<perm = [0, 2, 1]>(rows)")
    return net


def masked(net: Sketch) -> str:
    """Add prototypes `output1` [1, 32, 16, 16]; return the output."""
    net.constant("prototypes", np.random.default_rng(0).normal(size=(32, 4, 1, 1)))
    net.constant("twice", np.array([1, 1, 2, 2], np.float32))
    net.add("p = Conv(h, prototypes)", "output1 = Resize(p, , twice)")
    return "float[1, 32, 16, 16] output1"


def yolov8() -> onnx.ModelProto:
    """Return [1, 4 + C, B]."""
    return dense().model("float[1, 7, 84] output0", metadata=ultralytics("detect"))


def yolov8_seg() -> onnx.ModelProto:
    """Return [1, 4 + C + 32, B] and prototypes."""
    net = dense(np.random.default_rng(1).normal(size=(B, 32)))
    return net.model("float[1, 39, 84] output0", masked(net), metadata=ultralytics("segment"))


def yolov8_pose() -> onnx.ModelProto:
    """Return [1, 4 + 1 + 51, B]."""
    net = dense(np.random.default_rng(1).uniform(1, 60, size=(B, 51)), classes=1)
    data = ultralytics("pose", {0: "person"}, kpt_shape="[17, 3]")
    return net.model("float[1, 56, 84] output0", metadata=data)


def yolov8_obb() -> onnx.ModelProto:
    """Return [1, 4 + C + 1, B]; the last column is an angle."""
    net = dense(np.zeros((B, 1)))
    return net.model("float[1, 8, 84] output0", metadata=ultralytics("obb"))


def yolov5() -> onnx.ModelProto:
    """Return [1, 3 B, 5 + C]: centres and sizes, objectness, classes."""
    net = Sketch()
    net.scores(anchors=3)
    net.add("s = Sigmoid(logits)", "o = ReduceMax<axes = [2]>(s)")
    net.add(f"output0 = Concat<axis = 2>({net.moved('table', centred(boxes(anchors=3)))}, o, s)")
    return net.model("float[1, 252, 8] output0", metadata={"stride": "32", "names": str(NAMES)})


def yolox() -> onnx.ModelProto:
    """Return [1, B, 5 + C]: offsets from cells and logarithms of sizes in strides."""
    net = Sketch("images", "torch-jit-export")
    net.scores()
    strides = np.repeat([8.0, 16.0, 32.0], [64, 16, 4])[:, None]
    raw = np.concatenate([np.full((B, 2), 0.5), np.log(16 / strides).repeat(2, 1)], 1)
    net.add("s = Sigmoid(logits)", "o = ReduceMax<axes = [2]>(s)")
    net.add(f"output = Concat<axis = 2>({net.moved('table', raw)}, o, s)")
    return net.model("float[1, 84, 8] output")


def nanodet() -> onnx.ModelProto:
    """Return [1, B, 80 + 32]: class scores, then four distributions of 8 distances."""
    net = Sketch("data", "torch-jit-export")
    net.scores(classes=80)
    net.add("s = Sigmoid(logits)", f"output = Concat<axis = 2>(s, {net.moved('bins', bins((8, 16, 32), 8))})")
    return net.model("float[1, 84, 112] output")


def bins(strides: tuple[int, ...], count: int) -> np.ndarray:
    """Return four distributions of *count* distances for each cell, of 8 pixels each."""
    found = []
    for stride in strides:
        one = np.full((4, count), -20.0)
        low = int(8 / stride)
        one[:, low], one[:, low + 1] = 0, np.log(max(8 / stride - low, 1e-9) / (1 - 8 / stride + low))
        found.append(np.tile(one.reshape(1, -1), ((64 // stride) ** 2, 1)))
    return np.concatenate(found)


def best(net: Sketch, table: np.ndarray, classes: int = C) -> Sketch:
    """Add the best 20 of `logits`."""
    net.scores(classes=classes, category=min(1, classes - 1))
    net.add("s = Sigmoid(logits)")
    net.best("s", net.moved("table", table))
    return net


def end_to_end(extra: int = 0, table: np.ndarray | None = None, classes: int = C) -> Sketch:
    """Return a sketch whose `output0` is [1, 20, 6 + extra]."""
    net = best(Sketch(), boxes() if table is None else table, classes)
    parts = ["box", "score3", "category3"]
    if extra:
        parts.append(net.moved("extra", np.zeros((20, extra))))
    net.add(f"output0 = Concat<axis = 2>({', '.join(parts)})")
    return net


def yolo26() -> onnx.ModelProto:
    """Return [1, K, 6]."""
    return end_to_end().model("float[1, 20, 6] output0", metadata=ultralytics("detect", end2end="True"))


def yolo26_seg() -> onnx.ModelProto:
    """Return [1, K, 38] and prototypes."""
    net = end_to_end(32)
    return net.model("float[1, 20, 38] output0", masked(net), metadata=ultralytics("segment", end2end="True"))


def yolo26_pose() -> onnx.ModelProto:
    """Return [1, K, 57]."""
    data = ultralytics("pose", {0: "person"}, kpt_shape="[17, 3]", end2end="True")
    return end_to_end(51, classes=1).model("float[1, 20, 57] output0", metadata=data)


def yolo26_obb() -> onnx.ModelProto:
    """Return [1, K, 7]: centre and size, score, class, angle."""
    net = end_to_end(1, centred(boxes()))
    return net.model("float[1, 20, 7] output0", metadata=ultralytics("obb", end2end="True"))


def rknn() -> onnx.ModelProto:
    """Return for each stride [1, 64, h, w], [1, 80, h, w] and their clipped sum [1, 1, h, w]."""
    net, outputs = Sketch(), []
    net.constant("zero", np.zeros(1, np.float32)[0]), net.constant("one", np.ones(1, np.float32)[0])
    for stride in (8, 16, 32):
        size = 64 // stride
        grid = bins((stride,), 16).T.reshape(64, size, size)
        net.constant(f"g{stride}", grid[None])
        net.constant(f"w{stride}", np.zeros((64, 1, 1, 1), np.float32))
        net.add(f"n{stride} = Conv(f{stride}, w{stride})", f"reg{stride} = Add(n{stride}, g{stride})")
        net.add(f"cls{stride} = Sigmoid({net.logits(stride, 80)})")
        net.add(f"q{stride} = ReduceSum(cls{stride}, channel)", f"sum{stride} = Clip(q{stride}, zero, one)")
        for name, width in (("reg", 64), ("cls", 80), ("sum", 1)):
            net.add(f"o{name}{stride} = Identity({name}{stride})")
            outputs.append(f"float[1, {width}, {size}, {size}] o{name}{stride}")
    net.constant("channel", [1])
    return net.model(*outputs)


def npu_joined() -> onnx.ModelProto:
    """Return for each stride [1, 64 + 80, h, w]: distributions, then logits."""
    net, outputs = Sketch(), []
    for stride in (8, 16, 32):
        size = 64 // stride
        net.constant(f"g{stride}", bins((stride,), 16).T.reshape(64, size, size)[None])
        net.constant(f"w{stride}", np.zeros((64, 1, 1, 1), np.float32))
        net.add(f"n{stride} = Conv(f{stride}, w{stride})", f"reg{stride} = Add(n{stride}, g{stride})")
        net.add(f"output{stride} = Concat<axis = 1>(reg{stride}, {net.logits(stride, 80)})")
        outputs.append(f"float[1, 144, {size}, {size}] output{stride}")
    return net.model(*outputs)


def with_anchors() -> onnx.ModelProto:
    """Return for each stride [1, 3 · 85, h, w] after the sigmoid, as YOLOv5's exports for NPUs have it."""
    net, outputs = Sketch(), []
    for stride in (8, 16, 32):
        size = 64 // stride
        weight, bias = np.zeros((3, 85)), np.full((3, 85), -5.0)
        weight[:, [4, 21]], bias[:, :4] = 10, 0
        net.constant(f"w{stride}", weight.reshape(255, 1, 1, 1)), net.constant(f"b{stride}", bias.reshape(-1))
        net.add(f"z{stride} = Conv(f{stride}, w{stride}, b{stride})", f"output{stride} = Sigmoid(z{stride})")
        outputs.append(f"float[1, 255, {size}, {size}] output{stride}")
    return net.model(*outputs)


def yunet() -> onnx.ModelProto:
    """Return cls, obj, bbox and kps for each stride."""
    net, outputs = Sketch("input", "torch-jit-export"), []
    for stride in (8, 16, 32):
        count = (64 // stride) ** 2
        raw = np.tile([0.5, 0.5, *np.log([16 / stride] * 2)], (count, 1))
        rows = net.listed(net.logits(stride, 1, 0), 1)
        net.add(
            f"cls_{stride} = Sigmoid({rows})", f"o{stride} = Identity({rows})", f"obj_{stride} = Sigmoid(o{stride})"
        )
        net.moved(f"bbox_{stride}", raw), net.moved(f"kps_{stride}", np.ones((count, 10)))
        outputs += [(kind, stride, count, width) for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))]
    order = {"cls": 0, "obj": 1, "bbox": 2, "kps": 3}
    outputs.sort(key=lambda one: (order[one[0]], one[1]))
    return net.model(*(f"float[1, {count}, {width}] {kind}_{stride}" for kind, stride, count, width in outputs))


def scrfd(opened: bool = False) -> onnx.ModelProto:
    """Return nine nameless outputs without an axis of pictures, two candidates a cell: scores, boxes, keypoints."""
    outputs: list[tuple[int, int, int, int]] = []
    net = Sketch("input", "torch-jit-export")
    for stride in (8, 16, 32):
        count = 2 * (64 // stride) ** 2
        rows = net.listed(net.logits(stride, 1, 0, anchors=2), 1, batch=False)
        net.add(f"n{440 + stride} = Sigmoid({rows})")
        for name, columns, value in ((460, 4, 8 / stride), (490, 10, 1)):
            key = f"{name}_{stride}"
            net.constant(f"w{key}", np.zeros((2 * columns, 1, 1, 1)))
            net.constant(f"b{key}", np.full(2 * columns, float(value)))
            net.add(f"g{key} = Conv(f{stride}, w{key}, b{key})")
            net.add(f"n{name + stride} = Identity({net.listed(f'g{key}', columns, batch=False)})")
        outputs += [(440, stride, count, 1), (460, stride, count, 4), (490, stride, count, 10)]
    outputs.sort()
    model = net.model(*(f"float[{count}, {width}] n{base + stride}" for base, stride, count, width in outputs))
    if opened:
        for axis, length in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], "hw", strict=True):
            axis.dim_param = length
        for output in model.graph.output:
            output.type.tensor_type.shape.dim[0].dim_param = f"rows_{output.name}"
    return model


def blazeface() -> onnx.ModelProto:
    """Return rows of a box and six keypoints, in pixels from the middle of the cell, beside logits."""
    net, rows = Sketch("input", "tf2onnx", "tf2onnx"), []
    for stride, anchors in ((8, 2), (16, 6)):
        rows.append(net.listed(net.logits(stride, 1, 0, anchors), 1))
    net.add(f"classificators = Concat<axis = 1>({', '.join(rows)})")
    raw = np.concatenate(
        [np.zeros((224, 2)), np.full((224, 2), 16), np.random.default_rng(0).normal(0, 9, (224, 12))], 1
    )
    net.moved("regressors", raw)
    return net.model("float[1, 224, 16] regressors", "float[1, 224, 1] classificators")


def fastestdet() -> onnx.ModelProto:
    """Return [1, 1 + 4 + C, 4, 4] of stride 16."""
    net = Sketch("input", "torch-jit-export")
    net.constant("w0", np.zeros((4, 1, 1, 1), np.float32))
    net.constant("g", np.tile(np.array([0.55, 0.55, np.log(1 / 3), np.log(1 / 3)]).reshape(1, 4, 1, 1), (1, 1, 4, 4)))
    net.add("n = Conv(f16, w0)", "reg = Add(n, g)", f"o = Sigmoid({net.logits(16, 1, 0)})")
    net.add(f"p = Softmax<axis = 1>({net.logits(16, 80)})", "out = Concat<axis = 1>(o, reg, p)")
    return net.model("float[1, 85, 4, 4] out")


def retinanet() -> onnx.ModelProto:
    """Return logits [1, 9 · 80, h, w] and offsets [1, 9 · 4, h, w] for each stride."""
    net, classes, regressions = Sketch(), [], []
    for stride in (8, 16, 32):
        size = 64 // stride
        net.add(f"cls{stride} = Sigmoid({net.logits(stride, 80, anchors=9)})")
        net.constant(f"w{stride}", np.random.default_rng(0).normal(size=(36, 1, 1, 1)))
        net.add(f"box{stride} = Conv(f{stride}, w{stride})")
        classes.append(f"float[1, 720, {size}, {size}] cls{stride}")
        regressions.append(f"float[1, 36, {size}, {size}] box{stride}")
    return net.model(*classes, *regressions)


def ssd_offsets() -> onnx.ModelProto:
    """Return softmax scores beside offsets from priors."""
    net = Sketch("input")
    net.scores()
    net.add("scores = Softmax<axis = 2>(logits)")
    net.moved("boxes", OFFSETS)
    return net.model("float[1, 84, 3] scores", "float[1, 84, 4] boxes")


def retinaface() -> onnx.ModelProto:
    """Return offsets of boxes, softmax scores and offsets of landmarks, two priors a cell."""
    net = Sketch("input0")
    net.scores(classes=2, anchors=2)
    net.add("conf = Softmax<axis = 2>(logits)")
    net.moved("loc", np.random.default_rng(0).normal(0, 2, (168, 4)))
    net.moved("landms", np.random.default_rng(0).normal(0, 2, (168, 10)))
    return net.model("float[1, 168, 4] loc", "float[1, 168, 2] conf", "float[1, 168, 10] landms")


def ultraface() -> onnx.ModelProto:
    """Return softmax scores with the background first, beside corners relative to the image."""
    net = Sketch("input", "torch-jit-export")
    net.scores(classes=2)
    net.add("scores = Softmax<axis = 2>(logits)")
    net.moved("boxes", boxes() / 64)
    return net.model("float[1, 84, 2] scores", "float[1, 84, 4] boxes")


def detr(logits: str, table: str) -> onnx.ModelProto:
    """Return logits of queries beside centres and sizes relative to the image."""
    net = Sketch("pixel_values")
    net.scores(classes=C)
    net.add(f"{logits} = Identity(logits)") if logits != "logits" else None
    net.moved(table, centred(boxes()) / 64)
    return net.model(f"float[1, 84, 3] {logits}", f"float[1, 84, 4] {table}")


def suppressing(table: np.ndarray, graph: str, producer: str) -> Sketch:
    """Return a sketch that ends in NonMaxSuppression: `kept` [K, 3]."""
    net = Sketch("images", graph, producer)
    net.scores()
    net.add("s = Sigmoid(logits)", "by_class = Transpose<perm = [0, 2, 1]>(s)")
    net.constant("most", [20]), net.constant("overlap", np.array([0.5], np.float32))
    net.constant("least", np.array([0.3], np.float32))
    net.add(f"kept = NonMaxSuppression({net.moved('table', table)}, by_class, most, overlap, least)")
    return net


def nms(order: list[int]) -> onnx.ModelProto:
    """Return the indices that NonMaxSuppression keeps of boxes whose numbers have *order*."""
    return suppressing(boxes()[:, order], "g", "").model("int64[K, 3] kept")


def gathered(*parts: str) -> Sketch:
    """Return a sketch with a row for each detection, as a concatenation `y` [K, …] of *parts*."""
    net = Sketch()
    net.scores()
    net.constant("most", [20]), net.constant("overlap", np.array([0.5], np.float32))
    net.constant("least", np.array([0.3], np.float32)), net.constant("wide", np.full(1, 640, np.float32))
    net.add("s = Sigmoid(logits)", "kinds = ArgMax<axis = 2>(s)", "kindsf = Cast<to = 1>(kinds)")
    net.add("top = ReduceMax<axes = [2]>(s)", "tops = Transpose<perm = [0, 2, 1]>(top)", "far = Mul(kindsf, wide)")
    net.add(f"shifted = Add({net.moved('table', boxes())}, far)")
    net.add("kept = NonMaxSuppression(shifted, tops, most, overlap, least)")
    net.constant("c0", [0]), net.constant("c1", [1]), net.constant("c2", [2])
    net.add("picture64 = Gather<axis = 1>(kept, c0)", "batch = Cast<to = 1>(picture64)")
    net.add("row2 = Gather<axis = 1>(kept, c2)", "row = Squeeze(row2, c1)", "bare = Squeeze(table, c0)")
    net.add("box = Gather<axis = 0>(bare, row)", "tops2 = Squeeze(top, c0)", "kinds2 = Squeeze(kindsf, c0)")
    net.add("score = Gather<axis = 0>(tops2, row)", "category = Gather<axis = 0>(kinds2, row)")
    net.add(f"y = Concat<axis = 1>({', '.join(parts)})")
    return net


def yolov7() -> onnx.ModelProto:
    """Return [K, 7]: picture, corners, class, score."""
    net = gathered("batch", "box", "category", "score")
    net.add("output = Identity(y)")
    return net.model("float[K, 7] output")


def paddle() -> onnx.ModelProto:
    """Return [K, 6], class, score, corners, and the number of boxes of each picture."""
    net = gathered("category", "score", "box")
    net.add("length = Shape<end = 1>(y)", "bbox_num = Cast<to = 6>(length)", "bbox = Identity(y)")
    return net.model("float[K, 6] bbox", "int32[1] bbox_num")


def pinto() -> onnx.ModelProto:
    """Return scores [K, 1] beside [K, 6]: picture, class, corners."""
    net = gathered("batch", "category", "box")
    net.add("score_ = Identity(score)", "batchno_classid_x1y1x2y2 = Identity(y)")
    return net.model("float[K, 1] score_", "float[K, 6] batchno_classid_x1y1x2y2")


def mmdeploy() -> onnx.ModelProto:
    """Return dets [1, K, 5], corners and score, beside labels [1, K]."""
    net = best(Sketch("input"), boxes())
    net.add("dets = Concat<axis = 2>(box, score3)", "labels = Identity(of)")
    return net.model("float[1, 20, 5] dets", "int64[1, 20] labels")


def torchvision() -> onnx.ModelProto:
    """Return boxes [K, 4], labels [K], scores [K]."""
    net = best(Sketch("input"), boxes())
    net.add("boxes = Squeeze(box, first)", "labels = Squeeze(of, first)", "scores = Squeeze(score, first)")
    return net.model("float[20, 4] boxes", "int64[20] labels", "float[20] scores")


def qualcomm() -> onnx.ModelProto:
    """Return corners, the best score and its class for each candidate, without suppression."""
    net = Sketch("image")
    net.scores()
    net.add("s = Sigmoid(logits)", "scores = ReduceMax<axes = [2], keepdims = 0>(s)")
    net.add("class_idx = ArgMax<axis = 2, keepdims = 0>(s)")
    net.moved("boxes", boxes())
    return net.model("float[1, 84, 4] boxes", "float[1, 84] scores", "int64[1, 84] class_idx")


def tensorflow() -> onnx.ModelProto:
    """Return detection_boxes, y before x and relative, detection_classes and detection_scores."""
    net = best(Sketch("input_tensor", "tf2onnx", "tf2onnx"), boxes()[:, [1, 0, 3, 2]] / 64)
    net.add("detection_boxes = Identity(box)", "detection_classes = Identity(category)")
    net.add("detection_scores = Identity(score)")
    return net.model(
        "float[1, 20, 4] detection_boxes", "float[1, 20] detection_classes", "float[1, 20] detection_scores"
    )


def openvino() -> onnx.ModelProto:
    """Return [1, 1, K, 7]: picture, class, score, corners relative to the image."""
    net = best(Sketch("data"), boxes() / 64)
    net.add(f"picture = Identity({net.moved('zeros', np.zeros((20, 1)))})")
    net.add("y = Concat<axis = 2>(picture, category3, score3, box)", "detection_out = Unsqueeze(y, unit)")
    net.constant("unit", [1])
    return net.model("float[1, 1, 20, 7] detection_out")


def row(name: str, users: str, signature: str, make: object, parts: dict[str, str], **more: object) -> Convention:
    """Return a convention of detectors; *name* is "producer: what"."""
    settings = {"check": finds_the_square, **more}
    return Convention(name, name.split(":")[0], users, signature, make, "a detector", parts=parts, **settings)  # type: ignore[arg-type]


CENTRES, CORNERS = "centre and size cx cy w h", "corners x1 y1 x2 y2"
CONVENTIONS = [
    row("Ultralytics: v8", "YOLOv8, 9, 11, 12", "output0 [N, 4 + C, B]", yolov8, {"boxes": CENTRES}, check=is_a_square),
    row("Ultralytics: v8-seg", "-seg", "[N, 4 + C + 32, B], [N, 32, h, w]", yolov8_seg, {"scores": "3 classes"}),
    row("Ultralytics: v8-pose", "-pose", "[N, 5 + 51, B], kpt_shape", yolov8_pose, {"scores": "1 classes"}),
    row("Ultralytics: v8-obb", "-obb", "[N, 4 + C + 1, B]", yolov8_obb, {"boxes": CENTRES}, check=is_a_square),
    row("Ultralytics: v5", "YOLOv5, v7", "[N, 3 B, 5 + C]", yolov5, {"scores": "objectness"}, check=is_a_square),
    row("Megvii: YOLOX", "YOLOX", "output [N, B, 5 + C], offsets", yolox, {"boxes": "cells of a grid"}),
    row("RangiLyu: NanoDet", "NanoDet-Plus", "output [N, B, C + 32]", nanodet, {"boxes": "distributions"}),
    row("Ultralytics: 26", "YOLOv10, 26", "[N, 300, 6]", yolo26, {"boxes": CORNERS}, check=is_a_square),
    row("Ultralytics: 26-seg", "26-seg, nms=True", "[N, 300, 38], [N, 32, h, w]", yolo26_seg, {"boxes": CORNERS}),
    row("Ultralytics: 26-pose", "26-pose", "[N, 300, 57]", yolo26_pose, {"boxes": CORNERS}),
    row("Ultralytics: 26-obb", "26-obb", "[N, 300, 7]", yolo26_obb, {"boxes": CENTRES}),
    row("Rockchip: YOLOv8", "rknn_model_zoo", "[N, 64 | 80 | 1, h, w] × 3", rknn, {"boxes": "distributions"}),
    row("NPU: YOLOv8 joined", "Sophgo, K230", "[N, 64 + 80, h, w] × 3", npu_joined, {"boxes": "distributions"}),
    row(
        "Rockchip: YOLOv5",
        "YOLOv5, v7 for NPUs",
        "[N, 3 · 85, h, w] × 3",
        with_anchors,
        {"boxes": "unknown anchors"},
        check=has_no_box,
        warns="cannot be decoded",
    ),
    row("OpenCV zoo: YuNet", "cv2.FaceDetectorYN", "cls_8 … kps_32", yunet, {"scores": "'cls_8'"}),
    row("insightface: SCRFD", "SCRFD, buffalo_l", "[2 B, 1], [2 B, 4], [2 B, 10] × 3", scrfd, {"boxes": "four sides"}),
    row(
        "insightface: open SCRFD",
        "buffalo_l",
        "the same, of an open size",
        lambda: scrfd(True),
        {"boxes": "four sides"},
        check=lies_on_the_square,
    ),
    row(
        "MediaPipe: BlazeFace",
        "face, palm, pose",
        "regressors, classificators",
        blazeface,
        {"boxes": "offsets in pixels"},
    ),
    row("dog-qiuqiu: FastestDet", "FastestDet", "[N, 1 + 4 + C, h, w]", fastestdet, {"boxes": "tanh"}),
    row(
        "torchvision: RetinaNet heads",
        "RetinaNet",
        "[N, 9 · C, h, w], [N, 9 · 4, h, w] × 3",
        retinanet,
        {"boxes": "unknown anchors"},
        check=has_no_box,
        warns="cannot be decoded",
    ),
    row(
        "SSD without priors",
        "SSD",
        "scores, boxes: offsets",
        ssd_offsets,
        {"boxes": "unknown anchors"},
        check=has_no_box,
        warns="cannot be decoded",
    ),
    row(
        "biubug6: RetinaFace",
        "RetinaFace",
        "loc, conf, landms",
        retinaface,
        {"scores": "'conf'", "boxes": "unknown anchors"},
        check=has_no_box,
        warns="cannot be decoded",
    ),
    row("Linzaer: UltraFace", "UltraFace", "scores, boxes", ultraface, {"boxes": f"{CORNERS} relative"}),
    row("transformers: DETR", "DETR", "logits, pred_boxes", lambda: detr("logits", "pred_boxes"), {"boxes": CENTRES}),
    row("Roboflow: RF-DETR", "", "dets, labels", lambda: detr("labels", "dets"), {"boxes": f"{CENTRES} relative"}),
    row("ONNX: suppression, y first", "TF", "kept [K, 3]", lambda: nms([1, 0, 3, 2]), {"boxes": "corners"}),
    row("ONNX: suppression, x first", "any", "kept [K, 3]", lambda: nms([0, 1, 2, 3]), {"boxes": "corners"}),
    row("ONNX: suppression, any corners", "any", "kept [K, 3]", lambda: nms([2, 3, 0, 1]), {"boxes": "corners"}),
    row("WongKinYiu: YOLOv7 end2end", "YOLOv7", "[K, 7]", yolov7, {"boxes": CORNERS}),
    row("PaddleDetection: multiclass_nms", "PP-YOLOE", "[K, 6], bbox_num", paddle, {"boxes": CORNERS}),
    row("PINTO: post-process", "PINTO model zoo", "score, batchno_classid_x1y1x2y2", pinto, {"boxes": CORNERS}),
    row("OpenMMLab: mmdeploy", "mmdetection", "dets [N, K, 5], labels", mmdeploy, {"boxes": CORNERS}),
    row("torchvision: Faster R-CNN", "torchvision", "boxes, labels, scores", torchvision, {"boxes": CORNERS}),
    row("Qualcomm: YOLOv8", "AI Hub", "boxes, scores, class_idx", qualcomm, {"scores": "'scores'"}),
    row("TensorFlow: detection API", "TF2 zoo", "detection_boxes …", tensorflow, {"boxes": "corners y1 x1"}),
    row("OpenVINO: DetectionOutput", "Open Model Zoo", "[1, 1, K, 7]", openvino, {"boxes": CORNERS}),
]
