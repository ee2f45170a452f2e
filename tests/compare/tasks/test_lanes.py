"""Comparison of lanes: hand-computed cases, and rows of the segmenter as lanes, sound and spoilt."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.observer import Observer
from onnxcam.compare.pack import pack
from onnxcam.compare.record import record
from onnxcam.compare.recordings import Recording
from onnxcam.compare.tasks.lanes import LanesPrediction
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from tests.compare.tasks.twins import compared, drawn, headed, quantised, spoilt
from tests.compare.test_pack import runner, unpacked

ROWS = """
one = Constant<value_ints=[1]>() five = Constant<value_ints=[5]>() two = Constant<value_ints=[2]>()
end = Constant<value_ints=[64]>() pads = Constant<value_ints=[0, 0, 0, 0, 0, 1, 0, 0]>()
low = Constant<value_float=-1.0>()
shapes = Slice(y, one, five, one, one) rows = Slice(shapes, two, end, two, five)
turned = Transpose<perm=[0, 3, 2, 1]>(rows) z = Pad(turned, pads, low)
"""
"""The scores of four classes in each fifth row, and a place that means no lane."""


def lanes(path: Path) -> Path:
    return headed("segmenter", path, "lanes", ROWS, "z[65, 13, 4]")


def of(*places: float) -> LanesPrediction:
    return LanesPrediction(np.array([places]).T)


def test_equal_lanes() -> None:
    assert of(0.1, 0.2, math.nan).compare(of(0.1, 0.2, math.nan)).values == {"near_points": 1, "lane_shift": 0}


def test_a_moved_and_a_lost_point() -> None:
    found = of(0.1, 0.2, 0.3, 0.4).compare(of(0.11, 0.3, math.nan, 0.4)).values
    assert found["near_points"] == 2 / 4
    assert found["lane_shift"] == pytest.approx((0.01 + 0.1 + 0) / 3)


def test_a_lane_of_the_candidate_alone_counts() -> None:
    assert of(0.1, math.nan).compare(of(0.1, 0.2)).values["near_points"] == 0.5


def test_no_lane_in_either() -> None:
    found = of(math.nan).compare(of(math.nan))
    assert math.isnan(found.values["near_points"])
    assert found.notes == ["neither model finds a lane"]


def test_other_lanes_are_not_compared() -> None:
    with pytest.raises(MetricError, match="has 1 lanes in 2 rows and the candidate 1 lanes in 3 rows"):
        of(0.1, 0.2).compare(of(0.1, 0.2, 0.3))


def test_what_is_concluded() -> None:
    assert LanesPrediction.conclude([compared(of(0.1, 0.2), of(0.1, 0.2))], None) == []
    assert LanesPrediction.conclude([compared(of(0.1, 0.2, 0.3), of(0.1, math.nan, math.nan))], None) == [
        "the candidate finds lane 0 in 1 rows of all images, the reference in 3"
    ]
    with pytest.raises(MetricError, match="the reference finds no lane in any of the 1 images"):
        LanesPrediction.conclude([compared(of(math.nan), of(0.1))], None)


def test_what_is_read(tmp_path: Path) -> None:
    observer = Observer(lanes(tmp_path / "lanes.onnx"))
    prepared = observer.prepare(drawn(tmp_path / "p", count=1) / "000.png")
    look = observer.look(prepared)
    scores = np.zeros((1, 65, 13, 4), np.float32)
    scores[0, 32, 0, 0] = scores[0, 64, 1, 0] = scores[0, 63, 2, 0] = 1
    look.known = {"z": scores}
    found = observer.observation.predict(observer, look)
    assert isinstance(found, LanesPrediction)
    np.testing.assert_allclose(found.places[:3, 0], [32 / 63, math.nan, 1])
    exist = np.zeros((1, 2, 13, 4), np.float32)
    exist[0, 1, 1, 0] = 1
    look = observer.look(prepared)
    look.known = {"z": scores, "exist": exist}
    found = observer.observation.predict(observer, look)
    assert isinstance(found, LanesPrediction)
    np.testing.assert_allclose(found.places[:3, 0], [math.nan, 1, math.nan])


def test_recordings_of_nonsense() -> None:
    with pytest.raises(ValueError, match="holds a place outside 0 to 1"):
        LanesPrediction.from_arrays({"places": np.array([[1.5]])})


def test_a_sound_and_a_spoilt_file(tmp_path: Path) -> None:
    model, photos = lanes(tmp_path / "lanes.onnx"), drawn(tmp_path / "photos", count=4)
    good = quantised(model, photos, tmp_path / "int8.onnx")
    found = validate(model, good, photos)
    assert found.task == "lanes"
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert len(found.journal[0].objects) == 3
    assert validate(model, spoilt(good, tmp_path / "bad.onnx"), photos).verdict == "failed"


def test_record_and_pack(bare: Path, tmp_path: Path) -> None:
    model, photos = lanes(tmp_path / "lanes.onnx"), sorted(drawn(tmp_path / "p", count=2).iterdir())
    record(model, photos, tmp_path / "host")
    pack(model, tmp_path / "device.zip", photos)
    done = runner(bare, unpacked(tmp_path / "device.zip") / "run.py", "-o", tmp_path / "run")
    assert done.code == 0, done.err
    found = compare_recordings(tmp_path / "host", tmp_path / "run")
    assert found.summaries["near_points"].mean == 1
    assert isinstance(Recording(tmp_path / "run")[0].prediction, LanesPrediction)
