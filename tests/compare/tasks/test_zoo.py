"""Models of every convention of the zoo are compared: with itself, each agrees in every metric of its task."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.image_comparison import compare_outcomes
from onnxcam.compare.observer import Observer
from onnxcam.compare.summary import completed
from onnxcam.media import image
from tests.zoo.convention import Convention
from tests.zoo.params import without

LEFT_OUT = ("a classifier", "a detector", "a lane detector")  # tested elsewhere; not compared
PERFECT = {"psnr": 100.0}


@pytest.mark.parametrize("convention", without(LEFT_OUT), ids=str)
def test_a_model_agrees_with_itself(convention: Convention, tmp_path: Path) -> None:
    onnx.save(convention.make(), tmp_path / "model.onnx")
    for name, text in convention.files.items():
        (tmp_path / name).write_text(text, "utf-8")
    image.write(tmp_path / "picture.png", convention.image())
    observer = Observer(tmp_path / "model.onnx", inputs=convention.inputs)
    prepared = observer.prepare(tmp_path / "picture.png")
    (reference,) = observer.outcomes([prepared])
    (candidate,) = observer.outcomes([prepared], [observer.same(reference)])
    assert [one.target for one in candidate.maps] == [one.target for one in reference.maps]
    (found,) = completed([compare_outcomes(reference, candidate)], observer.prediction)
    for metric in observer.prediction.metrics:
        if metric in found.values:
            better = AGREEMENT_METRICS[metric].better == "higher"
            assert found.values[metric] == pytest.approx(PERFECT.get(metric, float(better)), abs=1e-6), metric
    assert set(found.values) & set(observer.prediction.metrics) or found.notes
    assert found.values.get("mapped", 1) == 1
