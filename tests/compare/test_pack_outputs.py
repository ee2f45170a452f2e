"""Packs of tasks other than classification: the device records outputs, and the host reads them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcam.compare import device_runner as device
from onnxcam.compare import packed_outputs
from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.device_runner import sealed
from onnxcam.compare.observer import Observer
from onnxcam.compare.pack import pack
from onnxcam.compare.record import record
from onnxcam.compare.recordings import Recording
from onnxcam.compare.tasks.detection import DetectionObservation
from onnxcam.errors import MethodError, ModelError, PreprocessError, RecordingError, TargetError
from onnxcam.metadata.reserved import BAKED
from onnxcam.targets.goal import Look
from tests.command import Ran
from tests.compare.recordings import SHAPES, change
from tests.compare.test_pack import runner, unpacked
from tests.compare.test_recorded_objects import DETECTOR, drawn

BOX, SCORE, CLASS = [[[4.0, 8.0, 20.0, 30.0], [0.0, 0.0, 9.0, 9.0]]], [[0.75, 0.0]], [[2, -1]]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return drawn(tmp_path_factory.mktemp("scenes") / "p")


@pytest.fixture(scope="module")
def ran(bare: Path, scenes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording of the host, the pack, and the recording of the device."""
    folder = tmp_path_factory.mktemp("device")
    record(DETECTOR, scenes, folder / "host")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_outputs, "bake", unable)
        made = pack(DETECTOR, folder / "device.zip", scenes)
    assert made.warnings == ["the device records no maps: detectors cannot be baked"]
    done = runner(bare, unpacked(folder / "device.zip") / "run.py", "-o", folder / "run")
    assert done.code == 0, done.err
    return folder


def unable(*told: Any, **more: Any) -> None:
    raise TargetError("detectors cannot be baked")


def baking(model: Any, path: Path, method: str, **settings: Any) -> None:
    """Write the detector with fixed detections, as `bake` does with those that it finds."""
    made = onnx.load(DETECTOR)
    arrays = {
        device.BOXES: np.array(BOX, np.float32),
        device.SCORES: np.array(SCORE, np.float32),
        device.CLASSES: np.array(CLASS, np.int64),
        device.MAPS: np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
    }
    for name, array in arrays.items():
        kind = TensorProto.INT64 if array.dtype == np.int64 else TensorProto.FLOAT
        made.graph.node.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        made.graph.output.append(helper.make_tensor_value_info(name, kind, array.shape))
    entry = made.metadata_props.add()
    entry.key, entry.value = BAKED, json.dumps({"method": "layercam"})
    onnx.save(made, path)


def test_the_host_reads_what_the_device_records(ran: Path, scenes: list[Path]) -> None:
    host, run = Recording(ran / "host"), Recording(ran / "run")
    assert (run.prediction.task, run.info.method, run.has_maps) == ("detection", "none", False)
    assert run.class_names == host.class_names
    for a, b in zip(host, run, strict=True):
        assert (a.sha256, a.size, a.frame, b.maps) == (b.sha256, b.size, b.frame, ())
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_allclose(getattr(b.prediction, name), getattr(a.prediction, name), atol=1e-3)


def test_recordings_without_maps_are_compared_by_predictions(ran: Path) -> None:
    found = compare_recordings(ran / "host", ran / "run")
    assert (found.passed, found.summaries["kept"].mean) == (True, 1)
    assert {one.metric for one in found.verdicts} == {"kept", "extra", "box_iou"}
    assert any("run': only predictions are compared" in warning for warning in found.warnings)


def test_maps_come_from_the_baked_outputs(
    bare: Path,
    scenes: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed_outputs, "bake", baking)
    made = pack(DETECTOR, tmp_path / "device.zip", scenes)
    assert (made.warnings, made.layer) == ([], "by object")
    done = runner(bare, unpacked(tmp_path / "device.zip") / "run.py", "-o", tmp_path / "run")
    assert done.code == 0, done.err
    run = Recording(tmp_path / "run")
    assert (run.info.method, run.has_maps) == ("layercam", True)
    for outcome in run:
        (one,) = outcome.maps
        side = outcome.size[0] / 64  # of the input
        box = tuple(side * x for x in BOX[0][0])
        assert (one.target, one.index, one.score, one.box) == ("detection=0", 2, 0.75, box)
        np.testing.assert_array_equal(one.map, np.arange(12).reshape(3, 4))
    record(DETECTOR, scenes, tmp_path / "host")
    found = compare_recordings(tmp_path / "host", tmp_path / "run")
    assert found.summaries["kept"].mean == 1
    assert any("does not explain" in warning for warning in found.warnings)


def test_what_a_baked_model_explains() -> None:
    maps = np.ones((1, 3, 4), np.float32)
    found = {device.MAPS: maps, device.CHOSEN: np.array([5])}
    (one,) = device.explained_objects(found, [0, 0, 8, 8], [4, 4])
    assert (one["target"], one["index"], one["map"].shape) == ("class=5", 5, (3, 4))
    assert device.explained_objects({**found, device.CHOSEN: np.array([-1])}, [0, 0, 8, 8], [4, 4]) == []
    assert device.explained_objects({device.MAPS: maps}, [0, 0, 8, 8], [4, 4]) == []
    boxes = {
        device.BOXES: np.array([[[1, 1, 2, 2], [np.nan] * 4]]),
        device.SCORES: np.array([[0.5, 0.5]]),
        device.CLASSES: np.array([[0, 1]]),
        device.MAPS: np.ones((1, 2, 3, 4)),
    }
    first, second = device.explained_objects(boxes, [10, 20, 18, 28], [4, 4])
    assert (first["box"], second["box"]) == ([12, 22, 14, 24], None)


def test_a_device_that_takes_images(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_outputs, "bake", unable)
    message = "without --images the device takes images, and the model cannot: detectors cannot be baked"
    with pytest.raises(PreprocessError, match=message):
        pack(DETECTOR, tmp_path / "device.zip")


def test_what_cannot_be_packed(ran: Path, scenes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordingError, match="--explain-from is for classifiers: a device explains what its model"):
        pack(DETECTOR, tmp_path / "device.zip", scenes, explain_from=ran / "host")
    with pytest.raises(MethodError, match="rise asks the network many times"):
        pack(DETECTOR, tmp_path / "device.zip", scenes, "rise")
    monkeypatch.setattr(packed_outputs, "bake", unable)
    with pytest.raises(TargetError, match="target 'cat' is not for"):
        pack(DETECTOR, tmp_path / "device.zip", scenes, target="cat")
    with monkeypatch.context() as patch:
        predict = DetectionObservation.predict
        patch.setattr(DetectionObservation, "predict", lambda *told: predict(*told) if _again(*told) else None)
        message = r"detector.onnx, a detector, runs several times for one image: use `onnxcam record` instead of a pack"
        with pytest.raises(ModelError, match=message):
            pack(DETECTOR, tmp_path / "device.zip", scenes)
    model = onnx.load(DETECTOR)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(ModelError, match=r"takes 2 images at once; export it for one, or for any number"):
        pack(tmp_path / "two.onnx", tmp_path / "device.zip", scenes)
    assert not (tmp_path / "device.zip").exists()


def _again(own: DetectionObservation, model: Observer, look: Look) -> bool:
    """Run the model for another image."""
    return bool(look.at(look.feeds[look.image] + 1).outputs)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("reading", [], "has no 'reading' that is an object"),
        ("reading.files", {}, "reading.files has no model.onnx, which reads the outputs"),
        ("reading.files", {"model.onnx": "ab"}, "'model.onnx' is missing or has changed; copy the whole folder again"),
        ("reading.files", {"model.onnx": "ab", "../x": "ab"}, "is missing or has changed"),
        ("pictures.0.tensor", None, r"pictures\[0\]: tensor is not \[H, W\] of the model's input"),
        ("pictures.0.tensor", [2**20, 2**20], r"pictures\[0\]: tensor is not \[H, W\] of the model's input"),
        ("pictures.0.arrays", {}, "the arrays of all images have .* numbers"),
    ],
)
def test_what_a_recording_of_outputs_must_say(key: str, value: Any, message: str, ran: Path, tmp_path: Path) -> None:
    folder = damaged(ran, tmp_path, change(key, value))
    with pytest.raises(RecordingError, match=message):
        list(Recording(folder))


def damaged(ran: Path, tmp_path: Path, alter: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(ran / "run", tmp_path / "run")
    told = json.loads((tmp_path / "run" / "recording.json").read_text())
    del told["seal"]
    alter(told)
    (tmp_path / "run" / "recording.json").write_bytes(sealed(told))
    return tmp_path / "run"


def test_outputs_that_are_none_of_the_model(ran: Path, tmp_path: Path) -> None:
    def rename(told: dict[str, Any]) -> None:
        for one in told["pictures"]:
            one["arrays"] = {f"x{name}": form for name, form in one["arrays"].items()}

    with pytest.raises(RecordingError, match=r"the output '.*' was not recorded; make the pack again"):
        list(Recording(damaged(ran, tmp_path, rename)))


def test_outputs_of_other_shapes(ran: Path, tmp_path: Path) -> None:
    def flatten(told: dict[str, Any]) -> None:
        for one in told["pictures"]:
            for form in one["arrays"].values():
                form["shape"] = [int(np.prod(form["shape"]))]

    with pytest.raises(RecordingError, match=r"pictures\[0\].arrays are no outputs of model.onnx") as error:
        list(Recording(damaged(ran, tmp_path, flatten)))
    assert "\n" not in str(error.value)


def test_another_model_beside_them(ran: Path, tmp_path: Path) -> None:
    folder = damaged(
        ran, tmp_path, change("reading.files", {"model.onnx": hashlib.sha256(SHAPES.read_bytes()).hexdigest()})
    )
    shutil.copyfile(SHAPES, folder / "model.onnx")
    message = "model.onnx is read as a model for classification, the outputs are of one for detection"
    with pytest.raises(RecordingError, match=message):
        list(Recording(folder))


def test_a_killed_run_resumes(ran: Path, bare: Path, tmp_path: Path) -> None:
    told = json.loads((ran / "device" / "pack.json").read_text())
    model = {**told["header"]["model"], "provider": "CPUExecutionProvider"}
    writer = device.RecordingWriter(tmp_path / "run", {**told["header"], "model": model})
    whole = Recording(ran / "run")
    for row in range(2):
        size = [*map(int, whole.pictures[row]["tensor"])]
        content: Any = whole._content
        writer.add_objects(dict(told["pictures"][row], tensor=size), content.arrays_of(row), [])
    writer.leave()
    done = runner(bare, ran / "device" / "run.py", "-o", tmp_path / "run")
    assert done.code == 0, done.err
    for file in ("recording.json", "arrays.bin", "maps.bin", "model.onnx"):
        assert (tmp_path / "run" / file).read_bytes() == (ran / "run" / file).read_bytes()


def test_the_command(onnxcam: Callable[..., Ran], bare: Path, tmp_path: Path) -> None:
    drawn(tmp_path / "p", 2)
    assert onnxcam("record", DETECTOR, "p", "-o", "host").code == 0
    packed = onnxcam("pack", DETECTOR, "-o", "device.zip", "--images", "p")
    assert packed.code == 0, packed.err
    assert runner(bare, unpacked(tmp_path / "device.zip") / "run.py", "-o", tmp_path / "run").code == 0
    compared = onnxcam("compare", "host", "run", "-o", "report")
    assert "2 images" in compared.err
    assert Observer(DETECTOR).prediction is Recording(tmp_path / "run").prediction
