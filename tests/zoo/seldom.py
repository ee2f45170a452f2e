"""Conventions of instance segmentation, poses of several persons, interest points, lanes, rotations, stages."""

from __future__ import annotations

import numpy as np
import onnx

from tests.zoo.convention import SQUARE, Convention
from tests.zoo.dense import CUBE, PEAKS, heat, mix
from tests.zoo.detectors import dense, gathered, row
from tests.zoo.masks import NONE, QUERIES
from tests.zoo.networks import bright
from tests.zoo.sketch import Sketch, boxes, centred

__all__ = ["CONVENTIONS"]

RANDOM = np.random.default_rng(0)
ZERO = np.zeros(1, np.float32)
EIGHTH = " p = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(a) "
DENSE = " p = AveragePool<kernel_shape = [16, 16], strides = [16, 16]>(a) f = Flatten(p) "
DESCRIBED = " d = Conv(p, u) n = ReduceL2<axes = [1]>(d) m = Add(n, tiny) {} = Div(d, m) "
DESCRIPTORS = {"u": RANDOM.normal(size=(256, 2, 1, 1)).astype(np.float32), "tiny": np.float32(1e-5)}
CELLS = mix([[0.1 + 0.01 * i, 0] for i in range(64)] + [[-2, 1]])
PIXELS = "so = Softmax<axis = 1>(g) s64 = Slice(so, z, e, x) all = DepthToSpace<blocksize = 8>(s64) "
ENDS = {"z": np.array([0]), "e": np.array([64]), "x": np.array([1])}


def instances(*names: str, size: int = 28) -> onnx.ModelProto:
    """Return boxes [K, 4], labels [K], scores [K] and masks [K, 1, h, w], called *names*."""
    net = gathered("box", "score")
    net.constant("shape", [-1, 1, size, size]), net.constant("mask", RANDOM.normal(size=(1, size * size)))
    boxed, label, score, masks = names
    net.add("kind = Cast<to = 7>(category)", f"{label} = Squeeze(kind, c1)", f"{score} = Squeeze(score2, c1)")
    net.add("flat = MatMul(score2, mask)", "high = Reshape(flat, shape)", f"{masks} = Sigmoid(high)")
    net.lines = [line.replace("score = Gather", "score2 = Gather") for line in net.lines if not line.startswith("y =")]
    net.add(f"{boxed} = Identity(box)")
    outputs = f"float[K, 4] {boxed}", f"int64[K] {label}", f"float[K] {score}"
    return net.model(*outputs, f"float[K, 1, {size}, {size}] {masks}")


def keypoint_rcnn() -> onnx.ModelProto:
    """Return boxes, labels, scores, keypoints [K, 17, 3] and their scores [K, 17], with numbers as names."""
    net = gathered("box", "score")
    net.constant("points", RANDOM.uniform(1, 60, size=(1, 51))), net.constant("shape", [-1, 17, 3])
    net.constant("each", RANDOM.normal(size=(1, 17))), net.constant("zero", ZERO)
    net.add("kind = Cast<to = 7>(category)", "n2 = Squeeze(kind, c1)", "n3 = Squeeze(score, c1)", "n1 = Identity(box)")
    net.add("none = Mul(score, zero)", "flat = Add(none, points)", "n4 = Reshape(flat, shape)")
    net.add("n5 = MatMul(score, each)")
    first = "float[K, 4] n1", "int64[K] n2", "float[K] n3"
    return net.model(*first, "float[K, 17, 3] n4", "float[K, 17] n5")


def rtmo() -> onnx.ModelProto:
    """Return dets [N, K, 5] and keypoints [N, K, 17, 3]."""
    net = persons("table")
    net.constant("shape", [1, 6, 17, 3]), net.constant("points", RANDOM.uniform(1, 60, size=(1, 6, 51)))
    net.add("dets = Concat<axis = 2>(box, score3)", "flat = Add(none, points)", "keypoints = Reshape(flat, shape)")
    return net.model("float[1, 6, 5] dets", "float[1, 6, 17, 3] keypoints")


def movenet() -> onnx.ModelProto:
    """Return [1, 6, 56]: 17 keypoints, corners y first, score."""
    net = persons("turned")
    net.constant("points", RANDOM.uniform(0.1, 0.9, size=(1, 6, 51)))
    net.add("flat = Add(none, points)", "output_0 = Concat<axis = 2>(flat, box, score3)")
    return net.model("float[1, 6, 56] output_0")


def persons(table: str) -> Sketch:
    """Return a sketch with the best six persons, and `none`, zeros [1, 6, 1]."""
    net = Sketch("input")
    net.scores(classes=1, category=0)
    net.moved("table", boxes()), net.moved("turned", boxes()[:, [1, 0, 3, 2]] / 64), net.constant("zero", ZERO)
    net.add("s = Sigmoid(logits)")
    net.best("s", table, 6)
    net.add("none = Mul(score3, zero)")
    return net


def percent() -> onnx.ModelProto:
    """Return [1, 4 + C, B] with scores from 0 to 100, and no metadata."""
    net = Sketch()
    net.scores()
    net.constant("hundred", np.full(1, 100, np.float32)), net.moved("table", centred(boxes()))
    net.add("p = Sigmoid(logits)", "s = Mul(p, hundred)", "rows = Concat<axis = 2>(table, s)")
    net.add("output0 = Transpose<perm = [0, 2, 1]>(rows)")
    return net.model("float[1, 7, 84] output0")


def fixed_rows() -> onnx.ModelProto:
    """Return [20, 7]: image, corners, class, score."""
    net = Sketch()
    net.scores(), net.moved("table", boxes()), net.constant("zero", ZERO)
    net.add("s = Sigmoid(logits)")
    net.best("s", "table")
    net.add("image0 = Mul(score3, zero)", "all = Concat<axis = 2>(image0, box, category3, score3)")
    net.add("output = Squeeze(all, first)")
    return net.model("float[20, 7] output")


def lanes(*outputs: tuple[str, int, int]) -> onnx.ModelProto:
    """Return the *outputs* (name, places, rows) [N, places, rows, 4]."""
    head, weights = DENSE, {}
    for name, places, rows in outputs:
        weights[f"w{name}"] = RANDOM.normal(size=(32, places * rows * 4)).astype(np.float32)
        weights[f"s{name}"] = np.array([-1, places, rows, 4])
        head += f" z{name} = MatMul(f, w{name}) {name} = Reshape(z{name}, s{name}) "
    return bright(", ".join(f"float[N, {places}, {rows}, 4] {name}" for name, places, rows in outputs), head, **weights)


def superpoint(outputs: str, tail: str, described: str, **weights: np.ndarray) -> onnx.ModelProto:
    """Return scores of the pixels of each cell and of none `g` [1, 65, 8, 8], descriptors, and what follows."""
    head = f"{EIGHTH} g = Conv(p, k) {DESCRIBED.format(described)} {tail}"
    return bright(outputs, head, channels=1, batch=1, k=CELLS, **DESCRIPTORS, **weights)


def best_points(size: tuple[object, object] = (64, 64)) -> onnx.ModelProto:
    """Return keypoints [1, K, 2], their scores [1, K] and descriptors [1, K, 256]."""
    return superpoint(
        "int64[1, K, 2] keypoints, float[1, K] scores, float[1, K, 256] descriptors",
        PIXELS
        + """
        flat = Reshape(all, line) scores, at = TopK<axis = 1>(flat, most)
        row = Div(at, width) column = Mod(at, width) y = Unsqueeze(row, last) x3 = Unsqueeze(column, last)
        keypoints = Concat<axis = 2>(x3, y) s3 = Unsqueeze(scores, last) descriptors = MatMul(s3, each)
        """,
        "grid",
        size=size,  # type: ignore[arg-type]
        line=np.array([1, -1]),
        most=np.array([50]),
        width=np.array(64),
        last=np.array([2]),
        each=RANDOM.normal(size=(1, 256)).astype(np.float32),
        **ENDS,
    )


def xfeat() -> onnx.ModelProto:
    """Return features, scores of the pixels of each cell and of none, and how reliable each cell is."""
    return superpoint(
        "float[1, 64, 8, 8] feats, float[1, 65, 8, 8] keypoints, float[1, 1, 8, 8] heatmap",
        "feats = Slice(dd, z, e, x) keypoints = Identity(g) w = Slice(g, z, x, x) heatmap = Sigmoid(w)",
        "dd",
        **ENDS,
    )


def transposed_pose() -> onnx.ModelProto:
    """Return [1, B, 4 + 1 + 51], without metadata."""
    net = dense(RANDOM.uniform(1, 60, size=(84, 51)), classes=1)
    net.add("moved0 = Transpose<perm = [0, 2, 1]>(output0)")
    return net.model("float[1, 84, 56] moved0")


def points(name: str, users: str, signature: str, make: object) -> Convention:
    """Return a convention of interest points."""
    region = f"region={','.join(map(str, SQUARE))}"
    return Convention(
        name,
        "torch.onnx.export",
        users,
        signature,
        make,
        "a model of interest points",
        {"map": "'"},
        target=region,  # type: ignore[arg-type]
    )


def other(name: str, users: str, signature: str, make: object, task: str, **more: object) -> Convention:
    """Return a convention of PyTorch."""
    return Convention(name, "torch.onnx.export", users, signature, make, task, **more)  # type: ignore[arg-type]


CONVENTIONS = [
    row(
        "torchvision: Mask R-CNN, numbers as names",
        "MaskRCNN-10 of the ONNX zoo",
        "boxes [K, 4], labels [K], scores [K], masks [K, 1, 28, 28]",
        lambda: instances("n6568", "n6570", "n6572", "n6887"),
        {"scores": "'n6572', classes in 'n6570'", "boxes": "corners x1 y1 x2 y2"},
    ),
    row(
        "torchvision: Mask R-CNN, masks of the image's size",
        "maskrcnn_resnet50_fpn",
        "boxes [K, 4], labels [K], scores [K], masks [K, 1, H, W]",
        lambda: instances("boxes", "labels", "scores", "masks", size=64),
        {"scores": "'scores', classes in 'labels'"},
    ),
    row(
        "torchvision: keypoint R-CNN",
        "keypointrcnn_resnet50_fpn",
        "boxes [K, 4], labels [K], scores [K], keypoints [K, 17, 3], [K, 17], numbers as names",
        keypoint_rcnn,
        {"scores": "'n3', classes in 'n2'"},
    ),
    row("MMDeploy: RTMO", "RTMO of rtmlib", "dets [N, K, 5], keypoints [N, K, 17, 3]", rtmo, {"scores": "'dets'"}),
    row(
        "tf2onnx: MoveNet multipose",
        "MoveNet for several persons",
        "[1, 6, 56]: 17 keypoints, corners y first, score",
        movenet,
        {"boxes": "corners y1 x1 y2 x2 relative to the image"},
    ),
    row("YOLOv8: percent", "apps that multiply by 100", "[N, 4 + C, B], 0 to 100", percent, {"scores": "3 classes"}),
    row(
        "YOLOv7: fixed rows", "end2end with TopK", "[20, 7]: image, box, class, score", fixed_rows, {"scores": "batch"}
    ),
    points(
        "superpoint-semi",
        "SuperPoint of MagicLeap",
        "semi [N, 65, H / 8, W / 8], desc [N, 256, H / 8, W / 8]",
        lambda: superpoint("float[1, 65, 8, 8] semi, float[1, 256, 8, 8] desc", "semi = Identity(g)", "desc"),
    ),
    points(
        "superpoint-scores",
        "SuperPoint of hloc",
        "scores [N, H, W], descriptors [N, 256, H / 8, W / 8]",
        lambda: superpoint(
            "float[1, 64, 64] scores, float[1, 256, 8, 8] descriptors",
            PIXELS + "scores = Squeeze(all, x)",
            "descriptors",
            **ENDS,
        ),
    ),
    points(
        "superpoint-best",
        "SuperPoint of LightGlue-ONNX",
        "keypoints [N, K, 2], scores [N, K], descriptors [N, K, 256]",
        best_points,
    ),
    points(
        "superpoint-best-open",
        "SuperPoint of LightGlue-ONNX with an open size",
        "keypoints [N, K, 2], scores [N, K], descriptors [N, K, 256]",
        lambda: best_points(("H", "W")),
    ),
    points(
        "xfeat",
        "XFeat",
        "feats [N, 64, H / 8, W / 8], keypoints [N, 65, H / 8, W / 8], heatmap [N, 1, H / 8, W / 8]",
        xfeat,
    ),
    row("TFLite: v8-pose", "v8-pose, rows first", "[N, B, 5 + 51]", transposed_pose, {"scores": "1 classes"}),
    other(
        "stacked-hourglass",
        "stacked hourglass networks: a set of heat maps for each stage",
        "[N, stages, keypoints, H / 4, W / 4]",
        lambda: bright(
            "float[N, 2, 17, 15, 15] output",
            PEAKS + "b = Unsqueeze(e, axis) output = Concat<axis = 1>(b, b)",
            k=heat(17),
            sharp=CUBE,
            axis=np.array([1]),
        ),
        "a keypoint model",
        parts={"keypoints": "'output', 17 heat maps"},
    ),
    other(
        "ultra-fast-lane",
        "Ultra-Fast-Lane-Detection",
        "[N, places + 1, rows, 4]",
        lambda: lanes(("output1", 101, 56)),
        "a lane detector",
        parts={"scores": "'output1', the places of 4 lanes"},
    ),
    other(
        "ultra-fast-lane-2",
        "Ultra-Fast-Lane-Detection-v2",
        "loc_row, loc_col, exist_row, exist_col [N, places, rows, 4]",
        lambda: lanes(("loc_row", 200, 72), ("loc_col", 100, 81), ("exist_row", 2, 72), ("exist_col", 2, 81)),
        "a lane detector",
        parts={"scores": "'loc_row', the places of 4 lanes"},
    ),
    other(
        "6d-rep-net",
        "6DRepNet: the rotation of a head",
        "[N, 3, 3], a rotation",
        lambda: bright(
            "float[N, 3, 3] output",
            DENSE + "z = MatMul(f, w) output = Reshape(z, shape)",
            w=np.abs(RANDOM.normal(size=(32, 9))).astype(np.float32),
            shape=np.array([-1, 3, 3]),
        ),
        "a regression",
        parts={"numbers": "'output', 9"},
    ),
    other(
        "mask2former-numbers",
        "Mask2Former without names",
        "[N, queries, classes + 1], [N, queries, H / 4, W / 4], numbers as names",
        lambda: bright(
            "float[N, 6, 5] n2981, float[N, 6, 16, 16] n2989",
            """
            p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a) n2989 = Conv(p, k)
            g = GlobalAveragePool(a) f = Flatten(g) z = MatMul(f, none) e = Reshape(z, table) n2981 = Add(e, queries)
            """,
            k=mix([[0, 1], [-1, 0], [4, -9], [0, 1], [0, 0.5], [-1, -1]]),
            none=NONE,
            table=np.array([0, 6, 5]),
            queries=QUERIES,
        ),
        "a segmentation",
        parts={"scores": "'n2981', 4 classes of 6 queries", "masks": "'n2989'"},
    ),
    other(
        "flow-without-a-name",
        "flow or colours without a name",
        "output [N, 2, H, W]",
        lambda: bright("float[N, 2, 64, 64] output", "output = Conv(a, k)", k=mix([[3, 0], [-4, 0]])),
        "a segmentation",
        warns="taken for classes, which is a guess",
    ),
]
