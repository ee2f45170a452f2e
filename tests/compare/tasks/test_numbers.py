"""Comparison of numbers: their difference by the spread over the images, findings, and two int8 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam.compare.tasks.numbers import NumbersPrediction, spreads
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from tests.compare.tasks.twins import compared, drawn, headed, quantised, spoilt


def numbers(*values: float) -> NumbersPrediction:
    return NumbersPrediction(np.array(values, np.float64))


def test_the_difference_is_divided_by_the_spread_over_the_images() -> None:
    pairs = [compared(numbers(value, 5), numbers(value + 1, 5)) for value in (0, 2, 4)]
    spread = np.std([0, 2, 4])
    assert NumbersPrediction.over_all(pairs)["number_error"] == pytest.approx([1 / spread / 2] * 3)


def test_the_spread_of_a_constant_is_its_magnitude() -> None:
    assert spreads(np.array([[5.0, 0.0], [5.0, 0.0]])).tolist() == [5, 1]
    assert NumbersPrediction.over_all([compared(numbers(2), numbers(1))])["number_error"] == [0.5]


def test_a_bias_is_named() -> None:
    pairs = [compared(numbers(0, value), numbers(0, value + 1)) for value in (0, 2, 4)]
    assert NumbersPrediction.conclude(pairs, None) == [
        "the candidate's number 1 is 1 higher on average; the reference's varies by 1.63 (standard deviation)"
    ]
    assert NumbersPrediction.conclude([compared(numbers(1), numbers(1))] * 3, None) == []
    (same,) = NumbersPrediction.conclude([compared(numbers(1), numbers(1))] * 6, None)
    assert same.startswith("the reference puts out the same numbers for all 6 images")


def test_nan_is_a_note() -> None:
    pair = compared(numbers(1), numbers(np.nan))
    assert pair.notes == ("the candidate's numbers hold NaN or infinity",)
    (missing, found) = NumbersPrediction.over_all([pair, compared(numbers(1), numbers(1))])["number_error"]
    assert np.isnan(missing)
    assert found == 0
    with pytest.raises(MetricError, match="NaN or infinity in all 1 images"):
        NumbersPrediction.conclude([pair], None)


def test_other_counts_are_not_compared() -> None:
    with pytest.raises(MetricError, match="the reference puts out 2 numbers and the candidate 3"):
        numbers(1, 2).compare(numbers(1, 2, 3))


def test_the_answer_shows_the_first_numbers() -> None:
    answer = numbers(1, 2.5, 3, 4, np.nan).answer(None)
    assert answer.words == "1, 2.5, 3, 4, …"
    assert answer.data == {"numbers": [1, 2.5, 3, 4, None]}


def test_a_good_and_a_spoilt_int8_file(tmp_path: Path) -> None:
    photos = drawn(tmp_path / "photos", count=8)
    model = headed("embedder", tmp_path / "ages.onnx", "regression", "z = Identity(y)", "z[32]")
    good = quantised(model, photos, tmp_path / "int8.onnx")
    renamed = onnx.load(good)
    renamed.graph.node.append(onnx.helper.make_node("Identity", ["z"], ["other"]))
    renamed.graph.output[0].name = "other"
    onnx.save(renamed, good)
    found = validate(model, good, photos)
    assert found.task == "regression"
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert [one.target for one in found.journal[0].objects] == ["z[0, 0]", "z[0, 1]", "z[0, 2]"]
    failed = validate(model, spoilt(good, tmp_path / "spoilt.onnx"), photos)
    assert failed.verdict == "failed"
    assert failed.summaries["number_error"].mean > 0.3


def test_angles_of_bins(tmp_path: Path) -> None:
    nodes = """
        s = Constant<value_ints=[0, 66]>() w = ConstantOfShape<value = float[1] {0.1}>(t)
        t = Constant<value_ints=[32, 66]>() r = Constant<value_ints=[-1]>() u = EyeLike<k = 3>(w)
        yaw = MatMul(y, u) pitch = Identity(yaw)
    """
    model = headed("embedder", tmp_path / "gaze.onnx", "", nodes, "yaw[66]", "pitch[66]")
    found = validate(model, model, drawn(tmp_path / "photos", count=2))
    assert found.task == "regression"
    assert found.summaries["number_error"].mean == 0
    assert [one.target for one in found.journal[0].objects] == ["top"]
