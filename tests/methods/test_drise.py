"""D-RISE: the similarity of detections by hand, a map by hand, and a slow replica of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxcam import Explainer
from onnxcam.errors import MethodError
from onnxcam.inspection import survey
from onnxcam.methods import METHODS
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.candidates import Candidates
from onnxcam.targets.detectors.similarity import similarity
from tests.networks import HAND_X, hand_model
from tests.zoo.convention import picture

Array = NDArray[Any]
DETECTOR = Path(__file__).parents[2] / "models" / "detector.onnx"
SIZE = 16
BOXES = np.array([[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0.5], [0.5, 0.5, 1, 1]], np.float32)
SCORES = np.array([[0.8, 0.2, 0.0], [0.3, 0.6, 0.1], [0.1, 0.1, 0.7]], np.float32)
SAID = {"task": "detection", "boxes_output": "boxes:xyxy,relative", "provider": "cpu"}


def detector() -> onnx.ModelProto:
    """Return a model of 16 x 16 pixels whose scores are `SCORES` times the mean of the image's upper half."""
    upper = np.repeat([2, 0], SIZE * SIZE // 2)
    boxes, scores, half = (", ".join(map(str, table.reshape(-1))) for table in (BOXES, SCORES, upper))
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    detector (float[1, 1, 16, 16] x) => (float[1, 3, 4] boxes, float[1, 3, 3] scores)
    <float[1, 3, 4] b = {{{boxes}}}, float[1, 3, 3] s = {{{scores}}}, float[1, 1, 16, 16] half = {{{half}}},
     int64[1] one = {{1}}>
    {{
        upper = Mul(x, half)
        mean = ReduceMean<axes = [1, 2, 3], keepdims = 1>(upper)
        m = Squeeze(mean, one)
        scores = Mul(s, m)
        boxes = Identity(b)
    }}
    """)


def overlap(a: Array, b: Array) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def test_similarity_by_hand() -> None:
    """The second box: IoU 8 / 24, cosine of (3, 4) and (4, 3) 24 / 25, objectness ½ or the largest class, 0.4."""
    corners = np.array([[0.0, 0, 4, 4], [2, 0, 6, 4]])
    scores = np.array([[0.0, 0.0], [0.3, 0.4]])

    def no_aim(candidate: int, category: int) -> tuple[WeightsAim, Array]:
        raise AssertionError

    target = corners[0], np.array([0.8, 0.6])
    seen = Candidates(corners, scores, no_aim)
    assert similarity(seen, *target) == pytest.approx(8 / 24 * 24 / 25 * 0.4)
    seen = Candidates(corners, scores, no_aim, objectness=np.array([1, 0.5]))
    assert similarity(seen, *target) == pytest.approx(8 / 24 * 24 / 25 * 0.5)
    assert similarity(Candidates(corners[:0], scores[:0], no_aim), *target) == 0
    one_class = Candidates(corners, scores[:, :1], no_aim)  # a table of detections shows the classes that it holds
    assert similarity(one_class, *target) == pytest.approx(8 / 24 * 0.8 * 0.3)


def test_map_by_hand() -> None:
    """Every mask keeps all: the target itself is the most similar box, and the largest class its objectness."""
    explainer = Explainer(detector(), method="drise", settings={"samples": 3, "keep": 1}, **SAID)
    x = np.full((1, 1, SIZE, SIZE), 0.9, np.float32)
    for target, best in (("detection=0", 0.8), ("box=8,8,16,16", 0.7), ("class=1", 0.6)):
        raw = explainer.attribute(x, target)
        assert raw.shape == (1, SIZE, SIZE)
        np.testing.assert_allclose(raw, 0.9 * best, rtol=1e-5)


def enlarged(grid: Array, size: int) -> Array:
    """Return *grid* with linear interpolation between the centres of its cells."""
    at = ((np.arange(size) + 0.5) * len(grid) / size - 0.5).clip(0, len(grid) - 1)
    low, share = np.floor(at).astype(int), at % 1
    high = np.minimum(low + 1, len(grid) - 1)
    rows = grid[low] * (1 - share)[:, None] + grid[high] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, high] * share


def test_replica() -> None:
    """Cells of 4 pixels: 4 x 4 of them are enlarged to 20 x 20 and cropped."""
    x = np.random.default_rng(1).uniform(0.6, 1, (1, 1, SIZE, SIZE)).astype(np.float32)
    settings = {"samples": 6, "cells": 4, "keep": 0.4, "seed": 3, "batch_size": 4}
    rng, expected = np.random.default_rng(3), np.zeros((SIZE, SIZE))
    for _ in range(6):
        large = enlarged((rng.random([4, 4]) < 0.4).astype(float), 20)
        i, j = rng.integers(0, [4, 4])
        mask = large[i : i + SIZE, j : j + SIZE]
        scores = SCORES * (x[0, 0] * mask)[:8].mean()
        similarities = [
            overlap(BOXES[1], BOXES[k])
            * (SCORES[1] @ scores[k] / np.linalg.norm(SCORES[1]) / np.linalg.norm(scores[k]))
            * scores[k].max()
            for k in range(3)
        ]
        expected += max(similarities) * mask
    raw = Explainer(detector(), method="drise", settings=settings, **SAID).attribute(x, "class=1")
    np.testing.assert_allclose(raw[0], expected / (6 * 0.4), rtol=1e-4)


@pytest.mark.parametrize("target", ["detection=0", "box=10,28,36,52"])
def test_the_map_lies_on_the_detection(target: str) -> None:
    explainer = Explainer(DETECTOR, method="drise", settings={"samples": 300, "cells": 8}, provider="cpu")
    found = explainer(picture((12, 30, 34, 50)), target)
    assert found.detection is not None
    x1, y1, x2, y2 = found.detection
    row, column = np.unravel_index(int(found.map.argmax()), found.map.shape)
    assert x1 <= column <= x2
    assert y1 <= row <= y2


def test_other_models_are_told_what_to_take(tmp_path: Path) -> None:
    with pytest.raises(
        MethodError, match=r"drise compares detections, but the target '0' is no box of a detector; use "
    ):
        Explainer(hand_model(), "drise").attribute(HAND_X, target=0)
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    why = survey(tmp_path / "hand.onnx").methods["drise"]
    assert why == "drise compares detections, but the model is a classifier; use --method rise"
    assert survey(DETECTOR).methods["drise"] == ""


def test_a_target_without_a_box_is_refused() -> None:
    explainer = Explainer(DETECTOR, method="drise", settings={"samples": 2}, provider="cpu")
    with pytest.raises(
        MethodError, match=r"the target 'detections\[0, 6, 0\]' is no box of a detector; use --method rise"
    ):
        explainer(picture((12, 30, 34, 50)), "detections[0, 6, 0]")


def test_it_needs_a_detector() -> None:
    assert [id for id, method in METHODS.items() if method.needs_detections] == ["drise"]
    assert METHODS["drise"].black_box
