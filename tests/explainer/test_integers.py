"""Real int8 files: scores beside maps are those of the file, bit for bit, and its fused operators stay fused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.engine import Session, optimised
from onnxcam.graph.io import load
from onnxcam.methods import explanation_graph, find_method
from tests.runtime import new_runtime

FILES = [
    "mobilenet_v1_025_128_qdq",
    "mobilenet_v2_224_qdq_nchw_int8",
    "person_detect_gray_qdq",
    "resnet8_cifar10_qdq",
    "vww_mobilenet_96_qdq",
    "vww_mobilenet_96_qlinear_ortext",
]
DETECTOR = "ssd_mobilenet_v1_coco_qdq_nms"
PHOTOS = ["baseball.jpg", "macaw.jpg", "squat.jpg"]
each = pytest.mark.parametrize("name", FILES)
with_method = pytest.mark.parametrize("method", ["gradcam", "gradient", "guided-backprop"])


def fused(model: ir.Model) -> Counter[str]:
    """Count the operators on integers in *model* as ONNX Runtime runs it."""
    return Counter(node.op_type for node in optimised(model).graph if node.op_type.startswith("QLinear"))


def assert_outputs_are_the_files(explainer: Explainer, path: Path, photo: Path) -> None:
    plain, tensor = (
        Session(load(path), "cpu"),
        explainer.network.modality.tensor(explainer.network.modality.read(photo)),
    )
    expected = plain.run({plain.inputs[0]: tensor})
    outputs = explainer(photo).outputs
    for output, values in expected.items():
        np.testing.assert_array_equal(outputs[output], values)


@each
@with_method
def test_the_scores_are_the_files_bit_for_bit(real: Path, name: str, method: str) -> None:
    path = real / "models" / f"{name}.onnx"
    explainer = Explainer(path, method=method, provider="cpu")
    for photo in PHOTOS:
        assert_outputs_are_the_files(explainer, path, real / "images" / photo)


@each
@with_method
def test_no_fusion_of_the_file_is_lost(real: Path, name: str, method: str) -> None:
    path = real / "models" / f"{name}.onnx"
    explainer = Explainer(path, method=method, provider="cpu")
    prepared, choice = explainer.network.open(), explainer.choice
    layers = [] if choice is None else [choice.layer.in_graph(prepared.model.graph)]
    explanation_graph(prepared, find_method(method), layers, explainer.network.task.aim, {})
    alone, beside = fused(load(path)), fused(prepared.model)
    assert alone <= beside
    assert alone.total() > 0


@new_runtime
@pytest.mark.parametrize("method", ["gradcam", "gradient"])
@pytest.mark.parametrize("photo", ["macaw.jpg", "purple_bus.jpg", "squat.jpg"])
def test_a_detector_explains_saturated_scores_and_keeps_its_outputs(real: Path, method: str, photo: str) -> None:
    """The scores of these detections are clipped by their quantiser: their gradient would be zero."""
    path = real / "models" / f"{DETECTOR}.onnx"
    assert_outputs_are_the_files(Explainer(path, method=method, provider="cpu"), path, real / "images" / photo)


@pytest.mark.parametrize("name", [*FILES, pytest.param(DETECTOR, marks=new_runtime)])
def test_a_baked_file_has_the_scores_of_the_file_bit_for_bit(real: Path, name: str, tmp_path: Path) -> None:
    path, made = real / "models" / f"{name}.onnx", tmp_path / "baked.onnx"
    bake(path, made)
    plain, baked = Session(load(path), "cpu"), Session(load(made), "cpu")
    network = Explainer(path, provider="cpu").network
    for photo in PHOTOS:
        feeds = {plain.inputs[0]: network.modality.tensor(network.modality.read(real / "images" / photo))}
        outputs = baked.run(feeds)
        for output, values in plain.run(feeds).items():
            np.testing.assert_array_equal(outputs[output], values)
