"""Conventions of grids and tables of numbers that are no class scores: colours, densities, landmarks, features."""

from __future__ import annotations

import numpy as np

from tests.zoo.convention import SQUARE, Convention
from tests.zoo.dense import CUBE, IMAGE, PEAKS, around, coordinates, heat, is_class, mix
from tests.zoo.networks import bright

__all__ = ["CONVENTIONS"]

REGION = f"region={','.join(map(str, SQUARE))}"
SMALL = " p = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(a) "

CONVENTIONS = [
    Convention(
        "colours-a-and-b",
        "torch.onnx.export",
        "colorization (ECCV 16, SIGGRAPH 17), DDColor: a and b of Lab from a grey image",
        "[N, 2, H, W]: Tanh times 110, no name, from [N, 1, H, W]",
        lambda: bright(
            "float[N, 2, 64, 64] output",
            "s = Conv(a, k) h = Tanh(s) output = Mul(h, most)",
            channels=1,
            k=mix([[1, 0], [-0.5, 0]]),
            most=np.float32(110),
        ),
        "a model of a vector for each pixel",
        {"map": "'output'"},
        target=REGION,
    ),
    Convention(
        "surface-normals",
        "torch.onnx.export",
        "Omnidata, DSINE, Sapiens",
        "normal [N, 3, H, W], vectors of length 1",
        lambda: bright(
            "float[N, 3, 64, 64] normal",
            "s = Conv(a, k) u = Add(s, up) n = ReduceL2<axes = [1], keepdims = 1>(u) normal = Div(u, n)",
            k=mix([[1, 0], [-0.5, 0], [0, 0]]),
            up=np.float32([0, 0, 1])[:, None, None],
        ),
        "a model of a vector for each pixel",
        {"map": "'normal'"},
        square=None,
    ),
    Convention(
        "crowd-density",
        "torch.onnx.export",
        "CSRNet, DM-Count, SFANet: people in each cell",
        "[N, 1, H / 8, W / 8] behind ReLU, hundredths; no name",
        lambda: bright(
            "float[N, 1, 8, 8] output",
            SMALL + "s = Conv(p, k) d = Relu(s) output = Mul(d, little)",
            k=mix([[1, -1]]),
            little=np.float32(0.05),
        ),
        "a model of one value for each pixel",
        {"map": "'output'"},
        target=REGION,
    ),
    Convention(
        "zero-dce",
        "torch.onnx.export",
        "Zero-DCE: low light",
        "curve [N, 24, H, W], curves behind Tanh; enhanced [N, 3, H, W]",
        lambda: bright(
            "float[N, 24, 64, 64] curve, float[N, 3, 64, 64] enhanced",
            "c8 = Conv(a, curves) curve = Tanh(c8) s = Conv(a, k) enhanced = Add(image, s)",
            curves=mix([[0.1 * i, 0.1] for i in range(24)]),
            k=IMAGE,
        ),
        "an image-to-image model",
        {"image": "'enhanced'"},
        square=None,
    ),
    Convention(
        "image-in-stages",
        "torch.onnx.export",
        "GFPGAN, MIMO-UNet: the image at several sizes, the smallest first",
        "[N, 3, H / 4, W / 4], [N, 3, H / 2, W / 2], [N, 3, H, W]",
        lambda: bright(
            "float[N, 3, 16, 16] small, float[N, 3, 32, 32] half, float[N, 3, 64, 64] output",
            """
            output = Conv(a, k) half = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(output)
            small = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(half)
            """,
            k=IMAGE,
        ),
        "an image-to-image model",
        {"image": "'output'"},
        square=None,
    ),
    Convention(
        "sketch",
        "torch.onnx.export",
        "Anime2Sketch, line drawings: one channel of an image over RGB",
        "[N, 1, H, W] behind Tanh",
        lambda: bright("float[N, 1, 64, 64] output", "s = Conv(a, k) output = Tanh(s)", k=mix([[1, -1]])),
        "an image-to-image model",
        {"image": "'output'"},
        square=None,
    ),
    Convention(
        "insightface-106",
        "MXNet",
        "2d106det of InsightFace's buffalo_l",
        "fc1 [N, 212]: x, y of 106 points from −1 to 1",
        coordinates(106, [one - 0.5 for one in around(106, 4)], "float[N, 212] fc1 | fc1 = Add(rows, rows)"),
        "a keypoint model",
        {"keypoints": "106 rows of x, y"},
        square=None,
    ),
    Convention(
        "mediapipe-hand",
        "tf2onnx",
        "MediaPipe's hand landmarks",
        "Identity [1, 63]: x, y, z in pixels; Identity_1, Identity_2 [1, 1]; Identity_3 [1, 63] in metres",
        coordinates(
            21,
            [*around(21, 3), np.full(21, 0.01, np.float32)],
            "float[N, 63] Identity, float[N, 1] Identity_1, float[N, 1] Identity_2, float[N, 63] Identity_3 |"
            "Identity = Mul(rows, pixels) mean_w = ReduceMean<axes = [1, 2, 3], keepdims = 0>(q)"
            "single = Reshape(mean_w, column) Identity_1 = Sigmoid(single) Identity_2 = Sigmoid(single)"
            "Identity_3 = Mul(rows, tiny)",
        ),
        "a keypoint model",
        {"keypoints": "'Identity', 21 rows of x, y, z"},
        square=None,
    ),
    Convention(
        "simcc-without-names",
        "torch.onnx.export",
        "RTMPose as rtmlib and others rename it",
        "output [N, 17, 2 W], 1222 [N, 17, 2 H]",
        lambda: bright(
            "float[N, 17, 128] output, float[N, 17, 128] y1222",
            PEAKS
            + "x = ReduceMax<axes = [2], keepdims = 0>(e) y = ReduceMax<axes = [3], keepdims = 0>(e)"
            + " output = MatMul(x, spread) y1222 = MatMul(y, spread)",
            k=heat(17),
            sharp=CUBE,
            spread=np.kron(np.eye(15, 16, dtype=np.float32), np.ones((1, 8), np.float32)),
        ),
        "a keypoint model",
        {"keypoints": "'output', 17 heat maps"},
        check=is_class(16),
    ),
    Convention(
        "sam-encoder",
        "torch.onnx.export",
        "image encoders of SAM, MobileSAM, EdgeSAM, SAM 2",
        "image_embeddings [1, 256, H / 16, W / 16]",
        lambda: bright(
            "float[1, 8, 8, 8] image_embeddings",
            SMALL + "s = Conv(p, k) image_embeddings = Add(s, bias)",
            batch=1,
            k=mix([[0.3 * i - 1, 0.5] for i in range(8)]),
            bias=np.linspace(-0.1, 0.1, 8, dtype=np.float32)[:, None, None],
        ),
        "an embedding",
        {"embedding": "'image_embeddings'"},
        square=None,
    ),
]
