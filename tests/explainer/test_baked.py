"""A baked file is explained and inspected as the network inside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.inspection import survey
from onnxcam.metadata.reserved import BAKED, PICTURE, load_bare
from tests.bake.baked import ASSETS, SHAPES
from tests.command import Ran
from tests.quantized import qdq

PHOTO = ASSETS / "shapes_1.png"
CARD = {"schema": 1, "preprocess": "imagenet,order=bgr,resize=110,crop=96"}


def carded(path: Path) -> Path:
    model = onnx.load(SHAPES)
    onnx.helper.set_model_props(model, {"onnxcam": json.dumps(CARD)})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("float", {}),
        ("float", {"preprocess": "raw,mean=100,std=50,order=bgr,letterbox=96"}),
        ("float", {"target": "input", "opset": 17, "raw": True}),
        ("card", {}),
        ("int8", {"preprocess": "unit,resize=20"}),
    ],
)
def test_the_map_is_that_of_the_network_inside(
    kind: str, settings: dict[str, Any], inside: bool, tmp_path: Path
) -> None:
    files = {"float": lambda: SHAPES, "card": lambda: carded(tmp_path / "card.onnx"), "int8": lambda: _int8(tmp_path)}
    file = files[kind]()
    own = Explainer(file, preprocess=settings.get("preprocess"))
    expected = own(PHOTO, target="top")
    made = bake(file, tmp_path / "baked.onnx", inside=inside, overlay=inside, **settings)
    assert (PICTURE in made.inputs) == inside
    explainer = Explainer(made.path)
    found = explainer(PHOTO, target="top")
    assert str(explainer.network.preprocessing) == str(own.network.preprocessing)
    assert (found.target, found.layer) == (expected.target, expected.layer)
    assert found.score == pytest.approx(expected.score, abs=1e-5)
    np.testing.assert_allclose(found.map, expected.map, atol=1e-5)
    assert expected.map.max() > 0
    assert not [warning for warning in found.warnings if "guess" in warning]  # the stamp says it


def _int8(folder: Path) -> Path:
    path = folder / "int8.onnx"
    onnx.save(qdq(), path)
    return path


@pytest.mark.parametrize("inside", [False, True])
def test_the_command_explains_and_inspects_it(inside: bool, onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "baked.onnx", inside=inside, preprocess="unit")
    out = onnxcam("explain", str(made.path), str(PHOTO), "-o", str(tmp_path / "out"), "--json").out
    assert json.loads(out)[0]["target"]["label"] == "circle"
    told = onnxcam("inspect", str(made.path)).out
    assert "baked by onnxcam: gradcam at layer5.2, target top; the rest describes the model inside" in told
    assert "preprocessing: resize=96x96,range=0-1,order=rgb,layout=nchw" in told
    assert survey(made.path).inputs == survey(SHAPES).inputs
    assert survey(SHAPES).baked == ""


def test_a_stamp_that_is_none_of_ours_is_passed_over(tmp_path: Path) -> None:
    for stamp in (
        "method=gradcam",
        "[1]",
        '{"picture": null}',
        '{"picture": "unit"}',
        '{"picture": {"tensor": "nowhere"}}',
    ):
        model = onnx.load(SHAPES)
        model.metadata_props.add(key=BAKED, value=stamp)
        onnx.save(model, tmp_path / "old.onnx")
        assert [value.name for value in load_bare(tmp_path / "old.onnx").graph.inputs] == ["image"]
        assert Explainer(tmp_path / "old.onnx")(PHOTO, target="top").target == 0
