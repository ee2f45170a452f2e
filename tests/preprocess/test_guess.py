"""A guessed preprocessing is told: in warnings, in the reading, with errors, and in baked files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.errors import TargetError
from onnxcam.inspection import survey
from onnxcam.metadata.reserved import BAKED

MODEL = """
<ir_version: 8, opset_import: ["": 17]>
main (float[1, 3, 32, 32] x) => (float[1, 2] y) {
    k = Constant<value = float[2, 3, 1, 1] {1.0, 1.0, 1.0, -1.0, -1.0, -1.0}> ()
    c = Conv<strides = [4, 4]>(x, k)
    r = Relu(c)
    g = GlobalAveragePool(r)
    y = Flatten(g)
}
"""
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(MODEL), path)
    return path


def test_an_error_tells_the_guess(model: Path) -> None:
    with pytest.raises(TargetError, match=r"class .*; the preprocessing is a guess \(.*--preprocess\)"):
        Explainer(model)(PICTURE, target=7)
    with pytest.raises(TargetError) as caught:
        Explainer(model, preprocess="unit")(PICTURE, target=7)
    assert "guess" not in str(caught.value)


def test_the_reading_has_the_preprocessing_and_its_source(model: Path) -> None:
    assert [(part.source, part.why) for part in Explainer(model).reading if part.name == "preprocessing"] == [
        ("guess", "three channels, and the graph does not normalise them")
    ]
    stated = Explainer(model, preprocess="caffe").reading
    assert [part.source for part in stated if part.name == "preprocessing"] == ["user"]
    assert [part.source for part in survey(model).reading if part.name == "preprocessing"] == ["guess"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_guess_stays_a_guess_in_a_baked_file(model: Path, tmp_path: Path, inside: bool) -> None:
    made = tmp_path / "baked.onnx"
    bake(model, made, inside=inside)
    stamp = json.loads({entry.key: entry.value for entry in onnx.load(made).metadata_props}[BAKED])
    assert stamp["picture"]["guess"] == "three channels, and the graph does not normalise them"
    explainer = Explainer(made)
    (warning,) = [warning for warning in explainer(PICTURE).warnings if "guess" in warning]
    assert "the metadata 'onnxcam.baked' says that it was guessed: three channels" in warning
    assert [part.source for part in explainer.reading if part.name == "preprocessing"] == ["guess"]
    again = tmp_path / "again.onnx"
    bake(made, again)
    assert any("guess" in warning for warning in Explainer(again)(PICTURE).warnings)


def test_a_stated_preprocessing_is_no_guess_in_a_baked_file(model: Path, tmp_path: Path) -> None:
    made = tmp_path / "baked.onnx"
    bake(model, made, preprocess="caffe")
    explainer = Explainer(made)
    assert explainer(PICTURE).warnings == ()
    assert [part.source for part in explainer.reading if part.name == "preprocessing"] == ["metadata"]
