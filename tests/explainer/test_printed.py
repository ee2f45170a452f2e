"""What Python prints of a result is one short line, and the files of one image do not replace those of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.compare.outcome import ModelInfo
from onnxcam.compare.validation import Validation
from onnxcam.explainer.sheet import sheet
from onnxcam.media import image
from onnxcam.metrics.agreement import compare_methods
from onnxcam.metrics.results import Evaluation, Measurement
from tests.cli.test_cli import PICTURE, SHAPES


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(SHAPES)


def test_a_result_prints_as_one_line(explainer: Explainer) -> None:
    found = explainer(str(PICTURE))
    arrays = np.zeros((1, 3, 96, 96), np.float32)
    info = ModelInfo("a.onnx", "", "float32", "gradcam", None, "unit", "cpu")
    evaluation = Evaluation("a.onnx", "unit", None, 1, 0, {}, {"energy": "higher"}, [])
    evaluation.rows.append(Measurement("a.png", 0, None, "gradcam", {"energy": 0.5}))
    compared = compare_methods(explainer, [str(PICTURE)], ["gradcam", "hirescam"])
    for one, says in (
        (found, "Explanation(shapes_1: circle 100 %, gradcam at layer5.2, raw map 12 × 12)"),
        (explainer, "method='gradcam')"),
        (
            explainer.replace(method="expected-gradients", settings={"baselines": arrays}),
            "<float32 [1, 3, 96, 96]>",
        ),
        (explainer.reading, "Reading(task: a classifier, "),
        (explainer.prepare(str(PICTURE)), "PreprocessedImage(shapes_1: 1 × 3 × 96 × 96)"),
        (explainer.concepts(str(PICTURE), 2), "ConceptMaps(shapes_1: 1 "),
        (sheet([found, found], title="A ring"), "Sheet(1 × 2 pictures, A ring)"),
        (compared, "MethodComparison(1 images: gradcam "),
        (compared.grid, "ExplanationGrid(1 images by gradcam, hirescam)"),
        (evaluation, "Evaluation(a.onnx: 1 images, methods gradcam, metrics energy)"),
        (Validation(info, info, [], {}, [], [], [], None, 0.0), "Validation(passed: a.onnx and a.onnx, 0 images)"),
    ):
        line = repr(one)
        assert says in line
        assert len(line) < 400
        assert not any(word in line for word in ("\n", "array(", "dtype"))


def test_each_image_has_its_own_files(explainer: Explainer, tmp_path: Path) -> None:
    other = PICTURE.with_name("shapes_2.png")
    arrays = [image.read(one) for one in (PICTURE, other)]
    explained = [explainer(one, target=0) for one in (str(PICTURE), other, *arrays)]
    written = [one.save(tmp_path, maps="raw")["raw"].name for one in explained]
    assert written[:2] == ["shapes_1-0-gradcam-raw.npy", "shapes_2-0-gradcam-raw.npy"]
    assert len(set(written)) == 4
    assert explained[2].save(tmp_path, maps="raw")["raw"].name == written[2]
    assert explainer.concepts(str(PICTURE), 2).save(tmp_path, maps="raw")["raw"].name == "shapes_1-concepts-dff-raw.npy"
    assert explained[0].save(tmp_path, "mine", maps="raw")["raw"].name == "mine-0-gradcam-raw.npy"
