"""Conventions of boxes: each form gives the same corners, and the numbers tell which one a set of boxes follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer, Explanation
from onnxcam.errors import TargetError
from onnxcam.targets.detectors.boxes import FORMS, BoxConvention, are_visible, fit, settled, written
from tests.zoo import detectors
from tests.zoo.convention import picture
from tests.zoo.sketch import boxes, centred

SIZE = (48, 96)
ANY = BoxConvention(("xyxy", "cxcywh", "yxyx"))
GRID = np.array([[x, y, x + 10, y + 6] for y in range(0, 40, 4) for x in range(0, 80, 8)], np.float64)


def of_form(form: str) -> np.ndarray:
    """Return `GRID` in a form."""
    middle, sides = (GRID[:, :2] + GRID[:, 2:]) / 2, GRID[:, 2:] - GRID[:, :2]
    forms = {
        "xyxy": [GRID],
        "yxyx": [GRID[:, [1, 0, 3, 2]]],
        "cxcywh": [middle, sides],
        "xywh": [GRID[:, :2], sides],
    }
    return np.concatenate(forms[form], axis=1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("relative", [False, True])
def test_a_named_form(form: str, relative: bool) -> None:
    unit = np.array([48, 96, 48, 96] if form == "yxyx" else [96, 48, 96, 48]) if relative else 1
    convention = written(f"{form}, relative" if relative else f"{form} pixels")
    np.testing.assert_allclose(convention.corners(of_form(form) / unit, SIZE), GRID)


@pytest.mark.parametrize("form", ["xyxy", "cxcywh", "yxyx"])
def test_the_numbers_decide(form: str) -> None:
    found = fit(of_form(form), SIZE, ANY)
    assert found is not None
    assert (found.forms, found.relative, found.source) == ((form,), False, "run")
    np.testing.assert_allclose(ANY.corners(of_form(form), SIZE), GRID)


def test_relative_boxes() -> None:
    found = fit(GRID / [96, 48, 96, 48], SIZE, ANY)
    assert found is not None
    assert (found.forms, found.relative) == (("xyxy",), True)


@pytest.mark.parametrize("scale", [0.5, 2, 5])
def test_offsets_are_no_boxes(scale: float) -> None:
    offsets = np.random.default_rng(0).normal(0, scale, (100, 4))
    assert fit(offsets, SIZE, ANY) is None
    assert np.isnan(ANY.corners(offsets, SIZE)).all()
    assert settled(ANY, [offsets], SIZE).forms == ()
    assert "offsets from unknown anchors" in str(settled(ANY, [offsets], SIZE).part("boxes"))


def test_a_single_form_is_not_doubted() -> None:
    offsets = np.random.default_rng(0).normal(0, 1, (100, 4))
    assert np.isfinite(written("xyxy").corners(offsets, SIZE)).all()


def test_few_boxes_decide_nothing_alone() -> None:
    assert settled(ANY, [GRID[:3]], SIZE) == ANY


def test_any_two_corners() -> None:
    convention = BoxConvention(("xyxy", "yxyx"), any_corner=True)
    np.testing.assert_allclose(convention.corners(GRID[:, [2, 3, 0, 1]], SIZE), GRID)
    np.testing.assert_allclose(convention.corners(GRID[:, [0, 3, 2, 1]], SIZE), GRID)
    np.testing.assert_allclose(convention.corners(GRID[:, [3, 2, 1, 0]], SIZE), GRID)


def test_what_is_shown() -> None:
    shown = {(10, 10, 30, 30): True, (-20, 10, 5, 30): True, (30, 10, 10, 30): False, (10, 10, 10.5, 30): False}
    shown |= {(100, 10, 130, 30): False, (-30, -30, -5, -5): False, (np.nan, 1, 2, 3): False}
    assert are_visible(np.array(list(shown)), SIZE).tolist() == list(shown.values())


@pytest.mark.parametrize("text", ["corners", "xyxy xyxy", "xyxy pixels relative", "pixels", "xyxy, metres"])
def test_no_convention(text: str) -> None:
    with pytest.raises(TargetError, match="is no convention of boxes; take one of xyxy, yxyx, cxcywh, xywh"):
        written(text)


def explained(folder: Path, model: onnx.ModelProto, said: str | None = None) -> tuple[Explainer, Explanation]:
    onnx.save(model, folder / "model.onnx")
    explainer = Explainer(folder / "model.onnx", boxes_output=said, method="layercam", preprocess="unit")
    return explainer, explainer(picture())


def test_the_user_names_the_convention(tmp_path: Path) -> None:
    explainer, found = explained(tmp_path, detectors.detr("logits", "boxes"), "boxes:cxcywh,relative")
    assert found.detection == (36, 12, 52, 28)
    assert str(explainer.reading[2]) == (
        "boxes: 'boxes', centre and size cx cy w h relative to the image (you said so)"
    )
    _, found = explained(tmp_path, detectors.detr("logits", "boxes"), "boxes:xywh,relative")
    assert found.detection == (44, 20, 60, 36)


def test_the_user_names_the_output_alone(tmp_path: Path) -> None:
    _, found = explained(tmp_path, detectors.detr("logits", "boxes"), "boxes")
    assert found.detection == (36, 12, 52, 28)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("boxes:corners", "'corners' is no convention of boxes"),
        ("nothing:xyxy", "the model has no output 'nothing' for boxes"),
        ("logits:xyxy", "no output holds scores for the boxes in 'logits'"),
    ],
)
def test_what_the_user_says_is_wrong(tmp_path: Path, said: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        explained(tmp_path, detectors.detr("logits", "boxes"), said)


def table(corners: np.ndarray) -> onnx.ModelProto:
    """Return YOLOv8 with other boxes."""
    model = detectors.yolov8()
    (value,) = (value for value in model.graph.initializer if value.name == "tablec")
    value.CopyFrom(onnx.numpy_helper.from_array(centred(corners.astype(np.float32))[None], "tablec"))
    return model


WRONG = {
    "turned over": lambda box: box[:, [2, 1, 0, 3]],
    "a pixel wide": lambda box: np.concatenate([box[:, :2] + 8, box[:, :2] + 8.5], 1),
    "outside": lambda box: box + 500,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_box_is_not_shown(tmp_path: Path, name: str) -> None:
    _, found = explained(tmp_path, table(WRONG[name](boxes())), "output0:cxcywh,pixels")
    assert found.detection is None
    assert found.words == "detection=0 class=square"
    assert "is turned over, outside the image or a pixel wide, so it is not shown" in found.warnings[-1]
    assert "box" not in found.note
