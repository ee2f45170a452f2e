"""Comparison of maps of values and of anomaly detectors: hand-computed cases, and int8 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcam.compare.tasks.value_maps import AnomalyPrediction, ValueMapPrediction
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from tests.compare.tasks.twins import compared, drawn, headed, quantised, spoilt

SLOPE = np.float32([[[0, 1], [2, 4]]])
SLICE = "a = Constant<value_ints=[1]>() b = Constant<value_ints=[2]>() {} = Slice(y, a, b, a)"


def test_an_offset_keeps_the_correlation() -> None:
    found = ValueMapPrediction(SLOPE).compare(ValueMapPrediction(SLOPE + 1)).values
    assert found == pytest.approx({"value_correlation": 1, "value_error": 0.25})


def test_one_value_in_all_cells() -> None:
    flat = ValueMapPrediction(np.zeros((1, 2, 2), np.float32))
    found = ValueMapPrediction(SLOPE).compare(flat)
    assert found.values["value_correlation"] == 0
    assert found.notes == ["the candidate puts out one value for all cells"]
    assert flat.compare(ValueMapPrediction(SLOPE)).notes == ["the reference puts out one value for all cells"]
    with pytest.raises(MetricError, match="one value for all cells of each of the 1 images"):
        ValueMapPrediction.conclude([compared(flat, ValueMapPrediction(SLOPE))], None)
    assert ValueMapPrediction.conclude([compared(ValueMapPrediction(SLOPE), flat)], None) == []


def test_nan_is_a_note() -> None:
    found = ValueMapPrediction(SLOPE).compare(ValueMapPrediction(SLOPE * np.nan))
    assert found.values == {}
    assert found.notes == ["the candidate's values hold NaN or infinity"]


def test_other_sizes_are_not_compared() -> None:
    with pytest.raises(MetricError, match="a map of 1 × 2 × 2 values and the candidate one of 1 × 4 × 4"):
        ValueMapPrediction(SLOPE).compare(ValueMapPrediction(np.zeros((1, 4, 4), np.float32)))


def test_the_answer_is_the_range() -> None:
    assert ValueMapPrediction(SLOPE).answer(None).words == "0 to 4"


def test_the_score_of_an_anomaly() -> None:
    pairs = [compared(AnomalyPrediction(own, None), AnomalyPrediction(own + 1, None)) for own in (0.0, 2.0, 4.0)]
    assert AnomalyPrediction.over_all(pairs)["number_error"] == pytest.approx([1 / np.std([0, 2, 4])] * 3)
    assert AnomalyPrediction.conclude(pairs, None) == []
    assert pairs[0].answers[1].words == "1"
    (same,) = AnomalyPrediction.conclude(pairs[:1] * 6, None)
    assert same == "the reference gives all 6 images the same score: number_error says little"


def test_a_map_without_a_score() -> None:
    pair = compared(AnomalyPrediction(None, SLOPE), AnomalyPrediction(None, SLOPE))
    assert pair.values == pytest.approx({"value_correlation": 1, "value_error": 0})
    assert AnomalyPrediction.over_all([pair]) == {}
    with pytest.raises(MetricError, match="puts out a map and the candidate a score and a map"):
        AnomalyPrediction(None, SLOPE).compare(AnomalyPrediction(1.0, SLOPE))


def test_a_good_and_a_spoilt_model_of_depth(tmp_path: Path) -> None:
    photos = drawn(tmp_path / "photos", count=8)
    nodes = "a = Constant<value_ints=[0]>() b = Constant<value_ints=[1]>() z = Slice(y, a, b, b)"
    model = headed("segmenter", tmp_path / "depth.onnx", "depth", nodes, "z[1, 64, 64]")
    good = quantised(model, photos, tmp_path / "int8.onnx")
    found = validate(model, good, photos)
    assert found.task == "depth"
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert found.journal[0].objects[0].boxes[0] is not None
    assert validate(model, spoilt(good, tmp_path / "spoilt.onnx"), photos).verdict == "failed"


def test_an_anomaly_detector(tmp_path: Path) -> None:
    photos = drawn(tmp_path / "photos", count=8)
    nodes = (
        SLICE.format("anomaly_map")
        + """
        c = Constant<value_ints=[1, 2, 3]>() pred_score = ReduceMax<keepdims = 0>(anomaly_map, c)
    """
    )
    outputs = "pred_score[]", "anomaly_map[1, 64, 64]"
    model = headed("segmenter", tmp_path / "anomaly.onnx", "anomaly", nodes, *outputs)
    good = quantised(model, photos, tmp_path / "int8.onnx")
    found = validate(model, good, photos, require="number_error<=0.1, value_correlation>=0.95")
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert validate(model, spoilt(good, tmp_path / "spoilt.onnx"), photos).verdict == "failed"
