"""Conventions of dense outputs: segmentations, masks, keypoints, depth, anomaly, images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxcam import Explainer, Explanation
from tests.zoo.convention import SQUARE, Convention
from tests.zoo.networks import bright

__all__ = [
    "CLASSES",
    "CONVENTIONS",
    "CUBE",
    "IMAGE",
    "PEAKS",
    "around",
    "coordinates",
    "heat",
    "is_class",
    "mix",
    "segmenter",
    "single",
]

F32 = NDArray[np.float32]


def mix(rows: list[list[float]]) -> F32:
    """Return the weights of a 1 × 1 convolution from `a` to one channel a row."""
    return np.asarray(rows, np.float32)[..., None, None]


CLASSES = mix([[0, 1], [1, -1], [0.2, 0.1], [-0.5, 0]])
"""Four classes: the ground is dark, class 1 is bright."""


def segmenter(outputs: str, last: str, weights: F32 = CLASSES, **settings: object) -> Callable[[], onnx.ModelProto]:
    """Return a maker of a network with scores `s` of classes, and what follows."""
    return lambda: bright(outputs, f"s = Conv(a, k) {last}", **settings, k=weights)  # type: ignore[arg-type]


def single(outputs: str, last: str, **settings: object) -> Callable[[], onnx.ModelProto]:
    """Return a maker of a network with one score `s`, bright or not, and what follows."""
    return segmenter(outputs, last, mix([[1, -1]]), **settings)


def is_class(index: int) -> Callable[[Explainer, Explanation], None]:
    """Return a check that class *index* is explained."""

    def check(explainer: Explainer, found: Explanation) -> None:
        assert found.target == index, found.words

    return check


def heat(count: int) -> F32:
    """Return the weights of *count* heat maps; the last one responds most."""
    return mix([[0.2 + 0.1 * i, -0.5] for i in range(count)])


PEAKS = " p = AveragePool<kernel_shape = [8, 8], strides = [4, 4]>(a) h = Conv(p, k) e = Pow(h, sharp) "
CUBE = np.float32(6)
PLACES = (np.indices((64, 64)) + 0.5).reshape(2, -1).astype(np.float32)[::-1] / 64
"""x and y of each pixel as shares of the image."""


def coordinates(count: int, columns: list[F32], last: str) -> Callable[[], onnx.ModelProto]:
    """Return a maker of a network with *count* rows `rows` [N, count · columns]: the place of the bright square.

    Each row is that place, moved by some part, and each of *columns* a constant to add.
    """
    offsets = np.stack(columns, axis=1).reshape(-1).astype(np.float32)
    width = len(columns)
    copies = np.tile(np.eye(2, width, dtype=np.float32), (1, count))
    head = """
        b = Slice(a, zero, one, one)
        q = ReduceSum<keepdims = 1>(b, space)
        d = Add(q, tiny)
        w = Div(b, d)
        f = Reshape(w, flat)
        m = MatMul(f, places)
        g = MatMul(m, copies)
        rows = Add(g, offsets)
    """
    outputs, tail = last.split("|")
    return lambda: bright(
        outputs,
        head + tail,
        zero=np.array([0]),
        one=np.array([1]),
        space=np.array([2, 3]),
        tiny=np.float32(1e-3),
        flat=np.array([0, 4096]),
        places=np.ascontiguousarray(PLACES.T),
        copies=copies,
        offsets=offsets,
        movenet=np.array([-1, 1, 17, 3]),
        table=np.array([-1, count, width]),
        nhwc_vector=np.array([-1, 1, 1, count * width]),
        column=np.array([-1, 1]),
        pixels=np.float32(64),
    )


def around(count: int, scale: float = 1) -> list[F32]:
    """Return x and y of *count* points on a small circle."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return [(0.05 * scale * np.cos(angles)).astype(np.float32), (0.05 * scale * np.sin(angles)).astype(np.float32)]


SEGMENTATION = [
    Convention(
        "paddleseg-argmax",
        "Paddle2ONNX",
        "PaddleSeg's exported models with ArgMax (PP-LiteSeg, PP-HumanSeg)",
        "argmax_0.tmp_0 int32 [N, H, W]: the class of each pixel, behind ArgMax and Cast",
        segmenter("int32[N, 64, 64] mask", "i = ArgMax<axis = 1, keepdims = 0>(s) mask = Cast<to = 6>(i)"),
        "a segmentation",
        {"scores": "'s', 4 classes"},
        check=is_class(1),
    ),
    Convention(
        "mmseg-argmax",
        "MMDeploy",
        "MMSegmentation",
        "output int64 [N, 1, H, W], behind Resize, Softmax and ArgMax",
        segmenter("int64[N, 1, 64, 64] output", "p = Softmax<axis = 1>(s) output = ArgMax<axis = 1, keepdims = 1>(p)"),
        "a segmentation",
        {"scores": "4 classes"},
        check=is_class(1),
    ),
    Convention(
        "segmentation-argmax-nhwc",
        "tf2onnx",
        "DeepLab of TensorFlow Hub with its ArgMax (SemanticPredictions)",
        "SemanticPredictions int64 [N, H, W] from NHWC",
        segmenter(
            "int64[N, 64, 64] SemanticPredictions",
            "t2 = Transpose<perm = [0, 2, 3, 1]>(s) SemanticPredictions = ArgMax<axis = 3, keepdims = 0>(t2)",
            nhwc=True,
        ),
        "a segmentation",
        {"scores": "4 classes"},
        check=is_class(1),
    ),
    Convention(
        "topk-mask",
        "torch.onnx.export",
        "segmentations that end in torch.max(dim=1)",
        "values [N, 1, H, W] and indices int64 [N, 1, H, W], by TopK of 1",
        segmenter("int64[N, 1, 64, 64] indices", "values, indices = TopK<axis = 1>(s, once)", once=np.array([1])),
        "a segmentation",
        {"scores": "4 classes"},
        check=is_class(1),
    ),
    Convention(
        "binary-mask-threshold",
        "torch.onnx.export",
        "U-Nets for one class with the threshold inside",
        "mask uint8 [N, 1, H, W], 0 or 255: sigmoid, threshold, times 255",
        single(
            "uint8[N, 1, 64, 64] mask",
            "p = Sigmoid(s) b = Greater(p, half) u = Cast<to = 2>(b) mask = Mul(u, most)",
            half=np.float32(0.5),
            most=np.uint8(255),
        ),
        "a segmentation",
        {"scores": "one class"},
        check=is_class(0),
    ),
    Convention(
        "segformer-logits",
        "optimum",
        "SegFormer, BEiT, DPT-segmentation of transformers",
        "logits [N, classes, H / 4, W / 4]",
        lambda: bright(
            "float[N, 4, 16, 16] logits",
            "p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a) logits = Conv(p, k)",
            k=CLASSES,
        ),
        "a segmentation",
        {"scores": "'logits'"},
        check=is_class(1),
    ),
    Convention(
        "torchvision-segmentation",
        "torch.onnx.export",
        "deeplabv3, fcn, lraspp of torchvision",
        "out [N, 21, H, W], aux [N, 21, H, W]",
        segmenter("float[N, 4, 64, 64] out, float[N, 4, 64, 64] aux", "out = Identity(s) aux = Neg(s)"),
        "a segmentation",
        {"scores": "'out'"},
        check=is_class(1),
    ),
    Convention(
        "three-classes-softmax",
        "tf2onnx",
        "U-Nets for three classes over RGB (Oxford pets)",
        "[N, H, W, 3] behind Softmax",
        segmenter(
            "float[N, 64, 64, 3] conv2d_transpose_4",
            "t2 = Transpose<perm = [0, 2, 3, 1]>(s) conv2d_transpose_4 = Softmax<axis = 3>(t2)",
            CLASSES[:3],
            nhwc=True,
        ),
        "a segmentation",
        {"scores": "3 classes"},
        check=is_class(1),
    ),
    Convention(
        "u2net",
        "torch.onnx.export",
        "U²-Net, IS-Net, BASNet (rembg)",
        "seven sigmoid maps [N, 1, H, W] with numbers as names",
        single(
            "float[N, 1, 64, 64] y1959, float[N, 1, 64, 64] y1960",
            "y1959 = Sigmoid(s) n = Mul(s, less) y1960 = Sigmoid(n)",
            less=np.float32(0.5),
        ),
        "a segmentation",
        {"scores": "'y1959', one class"},
        check=is_class(0),
    ),
    Convention(
        "mask-without-channels",
        "torch.onnx.export",
        "CLIPSeg and others that squeeze the channel",
        "[N, H, W] behind Sigmoid",
        single("float[N, 64, 64] output", "p = Sigmoid(s) output = Squeeze(p, axis)", axis=np.array([1])),
        "a segmentation",
        {"scores": "'output', one class"},
        check=is_class(0),
    ),
    Convention(
        "mask-times-255",
        "torch.onnx.export",
        "matting and saliency networks for the browser",
        "output [N, 1, H, W], 0 to 255: sigmoid times 255",
        single("float[N, 1, 64, 64] output", "p = Sigmoid(s) output = Mul(p, most)", most=np.float32(255)),
        "a segmentation",
        {"scores": "'p', one class"},
        check=is_class(0),
    ),
    Convention(
        "panoptic-deeplab",
        "torch.onnx.export",
        "Panoptic-DeepLab",
        "semantic [N, classes, H, W], center [N, 1, H, W], offset [N, 2, H, W]",
        segmenter(
            "float[N, 1, 64, 64] center, float[N, 2, 64, 64] offset, float[N, 4, 64, 64] semantic",
            "center = Conv(a, middle) offset = Identity(a) semantic = Identity(s)",
            middle=mix([[1, 0]]),
        ),
        "a segmentation",
        {"scores": "'semantic'"},
        check=is_class(1),
    ),
    Convention(
        "flat-classes",
        "tf2onnx",
        "SegNet, FCN and U-Net of image-segmentation-keras",
        "[N, H · W, classes] behind Softmax",
        segmenter(
            "float[N, 4096, 4] activation",
            "t2 = Transpose<perm = [0, 2, 3, 1]>(s) f = Reshape(t2, flat) activation = Softmax<axis = 2>(f)",
            nhwc=True,
            flat=np.array([0, 4096, 4]),
        ),
        "a segmentation",
        {"scores": "'activation', 4 classes"},
        check=is_class(1),
    ),
    Convention(
        "ppocr-det",
        "Paddle2ONNX",
        "text detection of PP-OCR v2 to v5 (DB)",
        "sigmoid_0.tmp_0 [N, 1, H, W]: how likely each pixel is text; open sizes",
        single("float[N, 1, H, W] probability", "probability = Sigmoid(s)", size=("H", "W")),
        "a segmentation",
        {"scores": "'probability', one class"},
        check=is_class(0),
    ),
]

KEYPOINTS = [
    Convention(
        "hrnet-heatmaps",
        "MMDeploy",
        "HRNet, SimpleBaseline of MMPose (top-down)",
        "output [N, 17, H / 4, W / 4]: peaked heat maps",
        lambda: bright("float[N, 17, 15, 15] output", PEAKS + " output = Identity(e)", k=heat(17), sharp=CUBE),
        "a keypoint model",
        {"keypoints": "'output', 17 heat maps"},
        check=is_class(16),
    ),
    Convention(
        "heatmaps-by-name",
        "torch.onnx.export",
        "networks for a few keypoints (three over RGB)",
        "heatmaps [N, 3, H / 4, W / 4]",
        lambda: bright("float[N, 3, 15, 15] heatmaps", PEAKS + " heatmaps = Identity(e)", k=heat(3), sharp=CUBE),
        "a keypoint model",
        {"keypoints": "'heatmaps', 3 heat maps"},
        check=is_class(2),
    ),
    Convention(
        "vitpose",
        "optimum",
        "ViTPose of transformers",
        "heatmaps [N, 17, H / 4, W / 4]; config.json: VitPoseForPoseEstimation",
        lambda: bright("float[N, 17, 15, 15] logits", PEAKS + " logits = Identity(e)", k=heat(17), sharp=CUBE),
        "a keypoint model",
        {"keypoints": "17 heat maps"},
        files={"config.json": '{"architectures": ["VitPoseForPoseEstimation"]}'},
        check=is_class(16),
    ),
    Convention(
        "rtmpose-simcc",
        "MMDeploy",
        "RTMPose, SimCC",
        "simcc_x [N, 17, 2 W], simcc_y [N, 17, 2 H]",
        lambda: bright(
            "float[N, 17, 15] simcc_x, float[N, 17, 15] simcc_y",
            PEAKS
            + " simcc_x = ReduceMax<axes = [2], keepdims = 0>(e) simcc_y = ReduceMax<axes = [3], keepdims = 0>(e)",
            k=heat(17),
            sharp=CUBE,
        ),
        "a keypoint model",
        {"keypoints": "'simcc_x', 17 heat maps"},
        check=is_class(16),
    ),
    Convention(
        "movenet",
        "tf2onnx",
        "MoveNet Lightning and Thunder",
        "output_0 [1, 1, 17, 3]: y, x, score",
        coordinates(
            17, [*around(17), np.full(17, 0.3)], "float[N, 1, 17, 3] output_0 | output_0 = Reshape(rows, movenet)"
        ),
        "a keypoint model",
        {"keypoints": "17 rows of y, x, score"},
        square=None,
        target="keypoint=3 axis=y",
        check=is_class(3),
    ),
    Convention(
        "keypoint-table",
        "torch.onnx.export",
        "regression of keypoints",
        "keypoints [N, 21, 2]",
        coordinates(21, around(21), "float[N, 21, 2] keypoints | keypoints = Reshape(rows, table)"),
        "a keypoint model",
        {"keypoints": "21 rows of x, y"},
        square=None,
    ),
    Convention(
        "pfld",
        "torch.onnx.export",
        "PFLD and other 68-point face networks",
        "[N, 136]: x, y of each point as shares of the image, no name",
        coordinates(68, around(68, 3), "float[N, 136] output | output = Identity(rows)"),
        "a keypoint model",
        {"keypoints": "68 rows of x, y"},
        square=None,
    ),
    Convention(
        "mediapipe-face-mesh",
        "tf2onnx",
        "MediaPipe's face mesh",
        "conv2d_21 [1, 1, 1, 1404]: x, y, z of 468 points; conv2d_31: whether there is a face",
        coordinates(
            468,
            [*around(468, 3), np.linspace(-0.1, 0.1, 468, dtype=np.float32)],
            "float[N, 1, 1, 1404] conv2d_21, float[N, 1, 1, 1] conv2d_31 |"
            "conv2d_21 = Reshape(rows, nhwc_vector) conv2d_31 = GlobalAveragePool(q)",
        ),
        "a keypoint model",
        {"keypoints": "468 rows of x, y"},
        square=None,
    ),
    Convention(
        "mediapipe-pose",
        "tf2onnx",
        "MediaPipe's BlazePose landmarks",
        "ld_3d [1, 195]: x, y, z, visibility, presence of 39 points",
        coordinates(
            39, [*around(39, 3), *[np.zeros(39, np.float32)] * 3], "float[N, 195] ld_3d | ld_3d = Identity(rows)"
        ),
        "a keypoint model",
        {"keypoints": "39 rows of x, y, z, visibility, presence"},
        target="keypoint=0 axis=x",
        square=None,
    ),
]

MAPS = [
    Convention(
        "depth-anything",
        "optimum",
        "Depth Anything v1 and v2, DPT, ZoeDepth, GLPN of transformers",
        "predicted_depth [N, H, W], open sizes",
        single(
            "float[N, H, W] predicted_depth",
            "d = Relu(s) predicted_depth = Squeeze(d, axis)",
            size=("H", "W"),
            axis=np.array([1]),
        ),
        "a depth model",
        {"map": "'predicted_depth'"},
        target=f"region={','.join(map(str, SQUARE))}",
    ),
    Convention(
        "midas",
        "torch.onnx.export",
        "MiDaS v2 and v3",
        "797 [N, H, W]: relative inverse depth, hundreds, never negative; no name",
        single(
            "float[N, 64, 64] y797",
            "m = Mul(s, many) d = Relu(m) y797 = Squeeze(d, axis)",
            axis=np.array([1]),
            many=np.float32(500),
        ),
        "a model of one value for each pixel",
        {"map": "'y797'"},
        target=f"region={','.join(map(str, SQUARE))}",
    ),
    Convention(
        "monodepth2",
        "torch.onnx.export",
        "Monodepth2, packnet",
        "disp_0 [N, 1, H, W] behind Sigmoid",
        single("float[N, 1, 64, 64] disp_0", "disp_0 = Sigmoid(s)"),
        "a depth model",
        {"map": "'disp_0'"},
        target=f"region={','.join(map(str, SQUARE))}",
    ),
    Convention(
        "anomalib-2",
        "anomalib 2",
        "PaDiM, PatchCore, EfficientAD and others of anomalib 2",
        "pred_score [N, 1], pred_label bool, anomaly_map [N, 1, H, W], pred_mask bool; clipped to 0..1",
        single(
            "float[N, 1] pred_score, bool[N, 1] pred_label, "
            "float[N, 1, 64, 64] anomaly_map, bool[N, 1, 64, 64] pred_mask",
            """
            m = ReduceMax<axes = [2, 3], keepdims = 0>(s) z = Mul(m, high) pred_score = Clip(z, low, one)
            pred_label = Greater(pred_score, half)
            anomaly_map = Clip(s, low, one) pred_mask = Greater(anomaly_map, half)
            """,
            low=np.float32(0),
            one=np.float32(1),
            half=np.float32(0.5),
            high=np.float32(50),
        ),
        "an anomaly detector",
        {"scores": "'z'", "map": "'anomaly_map'"},
    ),
    Convention(
        "anomalib-1",
        "anomalib 0.7 to 1.2",
        "models with metadata.json beside them",
        "output [N, 1, H, W]; metadata.json with image_threshold and pixel_threshold",
        single("float[N, 1, 64, 64] output", "output = Relu(s)"),
        "an anomaly detector",
        {"map": "'output'"},
        files={"metadata.json": '{"task": "segmentation", "image_threshold": 0.4, "pixel_threshold": 0.5}'},
    ),
]


IMAGE = mix([[1, -1], [0.8, -0.8], [0.9, -1.1]])


def doubled() -> onnx.ModelProto:
    """Return an upscaler by nearest neighbours."""
    return bright(
        "float[N, 3, 128, 128] y",
        'h = Conv(a, k) y = Resize<mode = "nearest">(h, , sizes)',
        k=IMAGE,
        sizes=np.float32([1, 1, 2, 2]),
    )


IMAGES = [
    Convention(
        "upscaler",
        "torch.onnx.export",
        "ESRGAN, SwinIR, waifu2x",
        "[N, 3, 2 H, 2 W]",
        doubled,
        "an image-to-image model",
        {"image": "'y'"},
        target="patch=76,28,116,68",
        square=None,
    ),
    Convention(
        "style-transfer",
        "torch.onnx.export",
        "fast neural style, CycleGAN, denoisers",
        "output1 [N, 3, H, W]",
        lambda: bright("float[N, 3, 64, 64] output1", "output1 = Conv(a, k)", k=IMAGE),
        "an image-to-image model",
        {"image": "'output1'"},
        target="patch=36,12,60,36",
        square=None,
    ),
]

CONVENTIONS = [*SEGMENTATION, *KEYPOINTS, *MAPS, *IMAGES]
