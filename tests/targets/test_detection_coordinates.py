"""Coordinates of a detection's box: the elements that make it, their derivatives, and the box of a changed image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxcam import Explainer
from onnxcam.errors import TargetError
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detection import Detections, detections
from onnxcam.targets.detectors.coordinates import COORDINATES, BoxElements, at_coordinate, box_part
from onnxcam.targets.goal import Goal
from onnxcam.targets.kinds import Box, Detection
from onnxcam.targets.parser import parse
from tests.zoo import detector_kinds, detectors
from tests.zoo.convention import Convention, picture

Array = NDArray[Any]
MODELS = Path(__file__).parents[2] / "models"
ZOO = [one for one in (*detectors.CONVENTIONS, *detector_kinds.CONVENTIONS) if one.check is not detectors.has_no_box]
SHAPES = picture((12, 30, 34, 50))


def read(task: Detections, tensors: list[Array], size: tuple[int, ...]) -> Array:
    return task.decoder.read(tensors, size).corners


@pytest.mark.parametrize("convention", ZOO, ids=str)
def test_the_elements_of_a_box_decide_it(convention: Convention, tmp_path: Path) -> None:
    """The box follows changes of its elements as in a decoded run, and no other box does."""
    explainer, _ = convention.read(tmp_path)
    task = explainer.network.task
    assert isinstance(task, Detections)
    x = explainer.network.modality.tensor(explainer.network.modality.read(convention.image()))
    look = explainer.network.look(x, None, explainer.network.read_inputs(convention.inputs))
    size = look.size if task.inner is None else task.inner.size
    tensors = [np.array(tensor, np.float64) for tensor in look.tensors(task.decoder.tensors)]
    corners = read(task, tensors, size)
    candidate = int(task.decoder.read(tensors, size).scores.max(axis=1).argmax())
    box = task.decoder.box(tensors, size, candidate)
    values = np.concatenate([part.values for part in box.parts])
    np.testing.assert_allclose(box.corners(values[None])[0], corners[candidate], rtol=1e-9)
    moved = values + (5 if len(values) > 5 else 1e-3) * np.random.default_rng(0).uniform(0.5, 1, len(values))
    for part, change in zip(box.parts, np.split(moved - values, [len(box.parts[0].values)]), strict=False):
        tensor = tensors[task.decoder.tensors.index(part.aim.tensor)]
        tensor.reshape(-1)[part.places] += change
    again = read(task, tensors, size)
    np.testing.assert_allclose(again[candidate], box.corners(moved[None])[0], rtol=1e-9)
    assert not np.allclose(again[candidate], corners[candidate], rtol=1e-9)
    np.testing.assert_array_equal(np.delete(again, candidate, 0), np.delete(corners, candidate, 0))


def candidate_and_boxes(explainer: Explainer, x: Array) -> tuple[int, Array]:
    """Return the candidate that is the best detection, and the corners of all."""
    task = explainer.network.task
    assert isinstance(task, Detections)
    seen = task._candidates(explainer.network.look(x, None, {}))
    return detections(seen)[0][0], seen.corners


def agrees(explainer: Explainer, image: Any, step: float) -> None:
    """A step of the image along the gradient of a coordinate changes the decoded box as the gradient says."""
    x = explainer.network.modality.tensor(explainer.network.modality.read(image))
    candidate, _ = candidate_and_boxes(explainer, x)
    for name, weights in COORDINATES.items():
        gradient = explainer.attribute(x, f"detection=0 coordinate={name}")
        way = step * gradient / np.abs(gradient).max()
        change = np.subtract(*(candidate_and_boxes(explainer, x + sign * way)[1][candidate] for sign in (1, -1)))
        assert change @ weights == pytest.approx(2 * float((gradient * way).sum()), rel=0.05)


def test_the_gradient_moves_the_box() -> None:
    agrees(Explainer(MODELS / "detector.onnx", method="gradient", provider="cpu"), SHAPES, 1e-3)


@pytest.mark.parametrize("name", ["yunet_n_320", "ultraface_rfb320"])
def test_the_gradient_moves_the_box_of_a_real_detector(name: str, real: Path) -> None:
    """YuNet's offsets and log sizes on grids; UltraFace's priors, decoded in the graph."""
    explainer = Explainer(real / "models" / f"{name}.onnx", method="gradient", provider="cpu")
    agrees(explainer, real / "images" / "grace_hopper.jpg", 3e-4)


def test_a_coordinate_is_in_pixels_of_the_image() -> None:
    """Of an image twice as large, the same change of the tensor moves the box twice as far."""
    explainer = Explainer(MODELS / "detector.onnx", method="gradient", provider="cpu")
    modality = explainer.network.modality
    large = SHAPES.repeat(2, 0).repeat(2, 1)
    goals = []
    for image in (SHAPES, large):
        read = modality.read(image)
        look = explainer.network.look(modality.tensor(read), read, {})
        goals.append(explainer.network.resolve(Detection(coordinate="width"), look))
    np.testing.assert_allclose(2 * goals[0].feed, goals[1].feed, rtol=1e-5)


def test_the_score_is_the_coordinate_where_boxes_are_linear() -> None:
    explainer = Explainer(MODELS / "detector.onnx", method="gradient", provider="cpu")
    found = explainer(SHAPES, "detection=0 coordinate=width")
    assert found.detection is not None
    assert found.score == pytest.approx(found.detection[2] - found.detection[0], abs=1e-3)
    assert found.words.endswith("coordinate=width")
    assert explainer(SHAPES, found.words).words == found.words


def exponential(variants: Array) -> Array:
    """x1 = exp(a), y1 = a b, x2 = x1 + b², y2 = 1 + y1."""
    a, b = variants.T
    return np.stack([np.exp(a), a * b, np.exp(a) + b**2, 1 + a * b], axis=1)


def test_derivatives_are_those_of_mathematics() -> None:
    row = np.array([[0.0, 0.7], [1.5, 0.0]])
    box = BoxElements((box_part("boxes", row, [1, 2]),), exponential)
    goal = Goal(WeightsAim("scores"), np.zeros(1, np.float32), "detection=0")
    expected = {"x1": (np.exp(0.7), 0), "y2": (1.5, 0.7), "width": (0, 3), "x": (np.exp(0.7), 1.5)}
    for name, (da, db) in expected.items():
        found = at_coordinate(goal, box, name, lambda corners: corners)
        assert found.aim == WeightsAim("boxes", exact=True)
        np.testing.assert_allclose(found.feed, [[0, da], [db, 0]], rtol=1e-7, atol=1e-8)
        assert found.words == f"detection=0 coordinate={name}"


def test_a_coordinate_of_two_tensors_is_refused(tmp_path: Path) -> None:
    """CenterNet gives the middle and the size of a box in two outputs."""
    convention = next(one for one in ZOO if one.name.startswith("xingyizhou"))
    explainer, _ = convention.read(tmp_path)
    message = "x1 of this box is decoded from 'reg', 'wh', not from one tensor; take x, y, width, height"
    with pytest.raises(TargetError, match=message):
        explainer(convention.image(), "detection=0 coordinate=x1")


def test_offsets_from_unknown_anchors_have_no_coordinates(tmp_path: Path) -> None:
    (convention,) = (one for one in detectors.CONVENTIONS if one.name.startswith("Rockchip: YOLOv5"))
    explainer, _ = convention.read(tmp_path)
    with pytest.raises(TargetError, match=r"follow no known convention.*so coordinate= cannot be explained"):
        explainer(convention.image(), "detection=0 coordinate=x1")


def test_words() -> None:
    assert parse("detection=0 coordinate=x1") == Detection(0, coordinate="x1")
    assert parse("box=1,2,3,4 class=dog coordinate=height") == Box((1, 2, 3, 4), "dog", "height")
    assert str(Detection(1, "dog", "y2")) == "detection=1 class=dog coordinate=y2"
    message = "'left' is none of x1, y1, x2, y2, x, y, width, height."
    with pytest.raises(TargetError, match=re.escape(message)):
        parse("detection=0 coordinate=left")
    with pytest.raises(TargetError, match=re.escape("coordinate= needs box= or detection=")):
        parse("coordinate=x1")
