"""Baked detectors whose rows have no axis of images: selected in the graph, or all images' rows together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.bake.detections import DetectionPlan
from onnxcam.bake.plan import BakeRequest
from onnxcam.bake.selected_rows import detector_plan
from onnxcam.errors import OnnxcamError
from onnxcam.model.description import ModelDescription
from onnxcam.targets.detection import Detections, detections
from tests.bake.tasks import run
from tests.bake.test_detections import scaled
from tests.zoo.convention import Convention
from tests.zoo.conventions import CONVENTIONS

COUNT = 3


def zoo(name: str, folder: Path) -> tuple[Path, Convention]:
    convention = next(one for one in CONVENTIONS if one.name == name)
    onnx.save(convention.make(), folder / "m.onnx")
    return folder / "m.onnx", convention


@pytest.mark.parametrize(
    "name",
    [
        "insightface: SCRFD",
        "WongKinYiu: YOLOv7 end2end",
        "YOLOv7: fixed rows",
        "PaddleDetection: multiclass_nms",
        "PINTO: post-process",
        "torchvision: Faster R-CNN",
    ],
)
def test_each_map_is_that_of_python(name: str, tmp_path: Path) -> None:
    path, convention = zoo(name, tmp_path)
    made = bake(path, tmp_path / "b.onnx", count=COUNT)
    assert made.choice is not None
    layer = made.choice.layer.name
    assert any(f"all detections are explained at one layer, {layer}, the last one" in one for one in made.warnings)
    own = Explainer(path, layer=layer)
    look = own.network.look(own.network.modality.tensor(convention.image()), None, {})
    found, task = run(made.path, dict(look.feeds)), own.network.task
    for output, value in run(path, dict(look.feeds)).items():
        np.testing.assert_array_equal(found[output].reshape(value.shape), value)
    assert isinstance(task, Detections)
    ranked = detections(task.candidates(look.tensors(task.decoder.tensors), look.size))[:COUNT]
    assert ranked
    assert [int(k) for k in found["onnxcam.classes"][0][: len(ranked)]] == [category for _, category in ranked]
    for rank in range(len(ranked)):
        raw = own.attribute(look.feeds, f"detection={rank}")[0]
        np.testing.assert_allclose(found["heatmap"][0, rank], scaled(raw, look.size), atol=1e-5)


def test_nothing_is_found_in_a_plain_image(tmp_path: Path) -> None:
    path, convention = zoo("WongKinYiu: YOLOv7 end2end", tmp_path)
    own = Explainer(path)
    for opset in (17, 18):
        made = bake(path, tmp_path / "b.onnx", count=COUNT, opset=opset, overwrite=True)
        feeds = {own.network.picture: own.network.modality.tensor(np.zeros_like(convention.image()))}
        found = run(made.path, feeds)
        assert not found["heatmap"].any()
        assert (found["onnxcam.classes"] == -1).all()


def test_rows_of_several_images_are_refused(tmp_path: Path) -> None:
    path, _ = zoo("insightface: SCRFD", tmp_path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, path)
    with pytest.raises(OnnxcamError, match="the rows of all images are together in the output 'n448', so only a model"):
        bake(path, tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()


def test_another_layer(tmp_path: Path) -> None:
    path, _ = zoo("insightface: SCRFD", tmp_path)
    made = bake(path, tmp_path / "b.onnx", count=COUNT, layer="h")
    assert made.choice is not None
    assert made.choice.layer.name == "h"
    assert not any("explained at one layer" in one for one in made.warnings)


def test_an_open_size_is_that_of_the_preprocessing_or_named(onnxcam: Any, tmp_path: Path) -> None:
    path, _ = zoo("insightface: open SCRFD", tmp_path)
    own = Explainer(path)
    image = own.network.picture
    for settings, size in (
        ({"size": (64, 96)}, (64, 96)),
        ({"preprocess": "letterbox=96x64,range=0-1"}, (96, 64)),
    ):
        made = bake(path, tmp_path / "b.onnx", count=COUNT, overwrite=True, **settings)  # type: ignore[arg-type]
        assert made.inputs[image] == f"float [1,3,{size[0]},{size[1]}]"
        said = f"the file is baked for {size[0]} × {size[1]}, the size of the preprocessing; --input-size names another"
        assert ("size" in settings) != any(said in one for one in made.warnings)
        x = np.random.default_rng(0).uniform(0, 1, (1, 3, *size)).astype(np.float32)
        found = run(made.path, {image: x})
        assert found["heatmap"].shape == (1, COUNT, *size)
        for name, value in run(path, {image: x}).items():
            np.testing.assert_array_equal(found[name], value)
    guessed = bake(path, tmp_path / "b.onnx", count=COUNT, overwrite=True)
    assert any("the size of the preprocessing, which is a guess; --input-size names" in one for one in guessed.warnings)
    ran = onnxcam("bake", path, "-o", tmp_path / "c.onnx", "--count", 2, "--input-size", 64, 64)
    assert (ran.code, (tmp_path / "c.onnx").exists()) == (0, True)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "insightface: open SCRFD",
            {"preprocess": "resize=none,range=0-1"},
            r"the size of the input 'input' is open, and a detector is baked for one size: name it with --input-size",
        ),
        ("insightface: SCRFD", {"size": (32, 64)}, r"the input 'input' is of the size 64 × 64, not 32 × 64"),
        ("insightface: SCRFD", {"size": (0, 64)}, r"--input-size is 0 × 64; give a height and a width of 1 to 16384"),
    ],
)
def test_sizes_that_cannot_be_baked(name: str, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    path, _ = zoo(name, tmp_path)
    with pytest.raises(OnnxcamError, match=message):
        bake(path, tmp_path / "b.onnx", **settings)
    assert not (tmp_path / "b.onnx").exists()


def test_an_open_segmentation_gets_a_size(tmp_path: Path) -> None:
    model = onnx.load(Path(__file__).parents[2] / "models" / "segmenter.onnx")
    for axis, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], "hw", strict=True):
        axis.dim_param = name
    onnx.save(model, tmp_path / "m.onnx")
    made = bake(tmp_path / "m.onnx", tmp_path / "b.onnx", size=(96, 64))
    assert made.inputs["image"] == "float [batch,3,96,64]"


def test_shuffled_channels_are_no_selection(real: Path) -> None:
    """FastestDet folds images and channels into one axis before its last layers, which only runs locate."""
    network = ModelDescription(real / "models" / "fastestdet_coco.onnx", "cpu")
    assert isinstance(network.task, Detections)
    assert type(detector_plan(network.task, BakeRequest(network))) is DetectionPlan
