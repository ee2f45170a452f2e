"""Comparison of keypoints: shifts in three units, findings, and int8 files of a table and of heat maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcam.compare.tasks.keypoints import KeypointPrediction
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from tests.compare.tasks.twins import compared, drawn, headed, quantised, spoilt

SIZE = (40, 30)  # a diagonal of 50 pixels


def points(found: list[tuple[float, float]], scores: list[float] | None = None) -> KeypointPrediction:
    return KeypointPrediction(np.array(found, float), None if scores is None else np.array(scores), SIZE)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([(10, 10), (20, 20)], [(10, 10), (20, 25)]),
        ([(0.25, 1 / 3), (0.5, 2 / 3)], [(0.25, 1 / 3), (0.5, 25 / 30)]),
        ([(-0.5, -1 / 3), (0, 1 / 3)], [(-0.5, -1 / 3), (0, 2 / 3)]),
    ],
)
def test_a_shift_of_five_pixels(first: list[tuple[float, float]], second: list[tuple[float, float]]) -> None:
    found = points(first).compare(points(second))
    assert found.values == pytest.approx({"near_keypoints": 0.5, "keypoint_shift": 0.05})
    assert found.details["shifts"] == [[0, 0], [1, pytest.approx(0.1)]]


def test_keypoints_of_low_scores_are_left_out() -> None:
    found = points([(10, 10), (20, 20)], [0.9, 0.1]).compare(points([(10, 10), (39, 29)], [0.9, 0.9]))
    assert found.values == {"near_keypoints": 1, "keypoint_shift": 0}


def test_a_point_that_is_no_number_is_far() -> None:
    assert points([(10, 10)]).compare(points([(np.nan, 10)])).values == {"near_keypoints": 0, "keypoint_shift": 1}
    assert points([(np.nan, 10)]).compare(points([(10, 10)])).notes == ["the reference sees no keypoint"]


def test_other_counts_are_not_compared() -> None:
    with pytest.raises(MetricError, match="the reference has 1 keypoints and the candidate 2"):
        points([(1, 1)]).compare(points([(1, 1), (2, 2)]))


def test_the_keypoints_that_shift_most_are_named() -> None:
    pair = compared(points([(10, 10), (20, 20)]), points([(10, 10), (20, 25)]))
    assert KeypointPrediction.conclude([pair], ["nose", "eye"]) == [
        "the candidate's keypoints shift most at eye by 10.0% of the diagonal"
    ]
    assert KeypointPrediction.conclude([compared(points([(1, 9)]), points([(1, 9)]))], None) == []
    with pytest.raises(MetricError, match="sees no keypoint in any of the 1 images"):
        KeypointPrediction.conclude([compared(points([(np.nan, 1)]), points([(1, 1)]))], None)


def test_the_answer() -> None:
    answer = points([(1, 2), (np.nan, 2)], [0.9, 0.8]).answer(None)
    assert answer.words == "1 of 2 keypoints"
    assert answer.data["keypoints"][1] == {"point": [None, 2], "score": 0.8}


def test_a_table(tmp_path: Path) -> None:
    photos = drawn(tmp_path / "photos", count=8)
    nodes = "z = Sigmoid(y) s = Constant<value_ints=[0, 16, 2]>() k = Reshape(z, s)"
    model = headed("embedder", tmp_path / "points.onnx", "keypoints", nodes, "k[16, 2]")
    good = quantised(model, photos, tmp_path / "int8.onnx")
    found = validate(model, good, photos)
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert [one.index for one in found.journal[0].objects] == [0, 1, 2]
    failed = validate(model, spoilt(good, tmp_path / "spoilt.onnx"), photos)
    assert failed.verdict == "failed"


def test_heat_maps(tmp_path: Path) -> None:
    photos = drawn(tmp_path / "photos", count=8)
    model = headed("segmenter", tmp_path / "heat.onnx", "keypoints", "heatmaps = Identity(y)", "heatmaps[7, 64, 64]")
    good = quantised(model, photos, tmp_path / "int8.onnx")
    assert validate(model, model, photos).summaries["keypoint_shift"].mean == 0
    sound, broken = (validate(model, one, photos) for one in (good, spoilt(good, tmp_path / "spoilt.onnx")))
    assert sound.summaries["near_keypoints"].mean > 0.8
    assert broken.verdict == "failed"
    assert broken.summaries["near_keypoints"].mean < 0.5
