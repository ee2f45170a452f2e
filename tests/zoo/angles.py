"""Conventions of angles that are put out as scores of bins, and of points of a face in a vector without a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from onnxcam import Explainer, Explanation
from tests.zoo.convention import Convention
from tests.zoo.networks import bright

__all__ = ["CONVENTIONS"]

TORCH = "torch.onnx.export"
LINEAR = "{} = Gemm(v, lifts, bins)"
SOFTMAX = "s{0} = Gemm(v, lifts, bins) {0} = Softmax<axis = 1>(s{0})"


def angles(names: Sequence[str], bins: int, last: str = LINEAR) -> Callable[[], onnx.ModelProto]:
    """Return a maker of a network with scores of *bins* for each of *names*: the brighter, the higher the angle."""
    lifts = np.stack([np.linspace(-40, 40, bins), np.zeros(bins)]).astype(np.float32)

    def make() -> onnx.ModelProto:
        outputs = ", ".join(f"float[N, {bins}] {name}" for name in names)
        head = "g = GlobalAveragePool(a) v = Flatten(g) " + " ".join(last.format(name) for name in names)
        return bright(outputs, head, lifts=lifts, bins=np.zeros(bins, np.float32))

    return make


def points(coordinates: Sequence[float], last: str = "y = Add(m, points)") -> Callable[[], onnx.ModelProto]:
    """Return a maker of a network that puts out *coordinates*, a little larger for a bright image."""
    count = len(coordinates)
    lifts = np.stack([np.full(count, 0.05), np.zeros(count)]).astype(np.float32)

    def make() -> onnx.ModelProto:
        head = f"g = GlobalAveragePool(a) v = Flatten(g) m = MatMul(v, lifts) {last}"
        return bright(f"float[N, {count}] y", head, lifts=lifts, points=np.array(coordinates, np.float32))

    return make


def degrees(explainer: Explainer, found: Explanation) -> None:
    assert "degrees" in found.note


FIVE = [0.3, 0.4, 0.7, 0.41, 0.5, 0.55, 0.35, 0.75, 0.65, 0.76]
FIVE_SPLIT = [*FIVE[::2], *FIVE[1::2]]
FIFTEEN = [
    66,
    39,
    30,
    37,
    59,
    40,
    73,
    39,
    37,
    37,
    23,
    38,
    56,
    29,
    80,
    32,
    40,
    29,
    17,
    30,
    48,
    57,
    61,
    80,
    29,
    78,
    43,
    73,
]
FIFTEEN = [*FIFTEEN, 44, 85]
SIGNED = [(value - 48) / 48 for value in FIFTEEN]

CONVENTIONS = [
    Convention(
        name, "torch.onnx.export", users, signature, make, "a regression", parts={"numbers": part}, check=degrees
    )
    for name, users, signature, make, part in [
        (
            "hopenet",
            "HopeNet, Deep Head Pose",
            "yaw, pitch, roll [N, 66]: scores of 66 bins of 3 degrees from -99",
            angles(("yaw", "pitch", "roll"), 66),
            "'yaw', 66 bins: 3 degrees each, from -99",
        ),
        (
            "hopenet-numbers",
            "HopeNet with the exporter's numbers as names",
            "output, 509, 510 [N, 66], logits",
            angles(("output", "o509", "o510"), 66),
            "'output', 66 bins: 3 degrees each, from -99",
        ),
        (
            "l2cs-gaze360",
            "L2CS-Net, gaze, trained with Gaze360",
            "yaw, pitch [N, 90] behind Softmax: bins of 4 degrees from -180",
            angles(("yaw", "pitch"), 90, SOFTMAX),
            "'yaw', 90 bins: 4 degrees each, from -180",
        ),
        (
            "l2cs-mpiigaze",
            "L2CS-Net, gaze, trained with MPIIGaze",
            "output, 512 [N, 28], logits: bins of 3 degrees from -42",
            angles(("output", "o512"), 28),
            "'output', 28 bins: 3 degrees each, from -42",
        ),
    ]
] + [
    Convention(name, producer, users, signature, make, "a keypoint model", parts={"keypoints": part})
    for name, producer, users, signature, make, part in [
        (
            "five-points",
            "torch.onnx.export",
            "five points of a face",
            "[N, 10], no name: x, y of eyes, nose and mouth as shares of the image",
            points(FIVE),
            "'y', 5 rows of x, y",
        ),
        (
            "five-points-split",
            "caffe2onnx",
            "O-Net of MTCNN by itself",
            "[N, 10], no name: all x, then all y",
            points(FIVE_SPLIT),
            "'y', 5 rows of x, y",
        ),
        (
            "kaggle-pixels",
            "tf2onnx",
            "Kaggle's facial keypoints in pixels of 96 × 96",
            "[N, 30], no name: x, y of 15 points",
            points(FIFTEEN),
            "'y', 15 rows of x, y",
        ),
        (
            "kaggle-signed",
            "torch.onnx.export",
            "Kaggle's facial keypoints, (x - 48) / 48",
            "[N, 30], no name: x, y of 15 points from −1 to 1",
            points(SIGNED),
            "'y', 15 rows of x, y",
        ),
    ]
]
