"""Baked detectors: the detections and their maps are those of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.errors import MethodError, OnnxcamError, TargetError
from onnxcam.metadata.reserved import BAKED
from onnxcam.targets.detection import Detections, detections
from tests.bake.tasks import MODELS, run, shapes
from tests.command import Ran
from tests.runtime import new_runtime
from tests.zoo.conventions import CONVENTIONS

DETECTOR = MODELS / "detector.onnx"
COUNT = 4
BOXES, SCORES, CLASSES = "onnxcam.boxes", "onnxcam.scores", "onnxcam.classes"


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(DETECTOR)


def tensor(explainer: Explainer, shift: int = 0) -> np.ndarray:
    return np.asarray(explainer.network.modality.tensor(shapes(shift=shift)))


def truth(explainer: Explainer, x: np.ndarray, least: float = 0.25) -> list[tuple[int, int]]:
    task, look = explainer.network.task, explainer.network.look(x, None, {})
    assert isinstance(task, Detections)
    return detections(task.candidates(look.tensors(task.decoder.tensors), look.size), least=least)


def scaled(raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    large = cv2.resize(raw, size[::-1], interpolation=cv2.INTER_LINEAR).clip(0)
    return np.asarray(large / max(large.max(), 1e-30))


def assert_maps(explainer: Explainer, x: np.ndarray, found: dict[str, Any], row: int = 0, atol: float = 1e-4) -> int:
    """Require the detections and the maps of one image to be those of `Explainer`; return their number."""
    ranked = truth(explainer, x)[:COUNT]
    assert [int(k) for k in found[CLASSES][row][: len(ranked)]] == [category for _, category in ranked]
    assert (found[SCORES][row] > 0).sum() == len(ranked)
    maps = np.float32(found["heatmap"][row]) / (255 if found["heatmap"].dtype == np.uint8 else 1)
    for rank in range(len(ranked)):
        raw = explainer.attribute(x, f"detection={rank}")[0]
        np.testing.assert_allclose(maps[rank], scaled(raw, maps.shape[1:]), atol=atol)
        box = explainer.network.resolve(f"detection={rank}", explainer.network.look(x, None, {})).box
        if box is not None:
            np.testing.assert_allclose(found[BOXES][row][rank], box, atol=1e-3)
    assert not maps[len(ranked) :].any()
    assert (found[CLASSES][row][len(ranked) :] == -1).all()
    return len(ranked)


def test_each_map_is_that_of_python(explainer: Explainer, tmp_path: Path) -> None:
    made = bake(DETECTOR, tmp_path / "b.onnx", count=COUNT)
    seen = 0
    for shift in range(0, 24, 4):
        x = tensor(explainer, shift)
        found = run(made.path, {"image": x})
        for name, value in run(DETECTOR, {"image": x}).items():
            np.testing.assert_array_equal(found[name], value)
        seen += assert_maps(explainer, x, found)
    assert seen > 3


def test_an_open_batch(explainer: Explainer, tmp_path: Path) -> None:
    made = bake(DETECTOR, tmp_path / "b.onnx", count=COUNT)
    each = [tensor(explainer, shift) for shift in (0, 8, 16)]
    found = run(made.path, {"image": np.concatenate(each)})
    assert found["heatmap"].shape == (3, COUNT, 64, 64)
    for row, x in enumerate(each):
        assert_maps(explainer, x, found, row)


def test_a_fixed_batch(explainer: Explainer, tmp_path: Path) -> None:
    model = onnx.load(DETECTOR)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "two.onnx")
    made = bake(tmp_path / "two.onnx", tmp_path / "b.onnx", count=COUNT)
    each = [tensor(explainer, shift) for shift in (0, 8)]
    found = run(made.path, {"image": np.concatenate(each)})
    for row, x in enumerate(each):
        assert_maps(explainer, x, found, row)


def test_the_threshold_at_run_time(explainer: Explainer, tmp_path: Path) -> None:
    made = bake(DETECTOR, tmp_path / "b.onnx", count=COUNT, threshold="input")
    x = tensor(explainer)
    for least in (0.05, 0.25, 0.9):
        found = run(made.path, {"image": x, "onnxcam.threshold": np.float32([least])})
        assert (found[SCORES][0] > 0).sum() == len(truth(explainer, x, least)[:COUNT])
    stamp = {entry.key: entry.value for entry in onnx.load(made.path).metadata_props}[BAKED]
    assert '"onnxcam.threshold": [0.25]' in stamp
    assert f'"count": {COUNT}' in stamp


def test_a_fixed_threshold(explainer: Explainer, tmp_path: Path) -> None:
    made = bake(DETECTOR, tmp_path / "b.onnx", count=COUNT, threshold=1.0)
    found = run(made.path, {"image": tensor(explainer)})
    assert not found["heatmap"].any()
    assert not found[BOXES].any()
    assert (found[CLASSES] == -1).all()


def test_uint8_and_preprocessing_inside(explainer: Explainer, tmp_path: Path) -> None:
    made = bake(DETECTOR, tmp_path / "b.onnx", count=COUNT, uint8=True, inside=True)
    found = run(made.path, {"picture": shapes()[None]})
    assert_maps(explainer, tensor(explainer), found, atol=0.51 / 255 + 1e-4)


@pytest.mark.parametrize("opset", [13, 17])
def test_an_older_opset(opset: int, explainer: Explainer, tmp_path: Path) -> None:
    made = bake(DETECTOR, tmp_path / "b.onnx", count=COUNT, opset=opset)
    assert made.opset == opset
    x = tensor(explainer)
    assert_maps(explainer, x, run(made.path, {"image": x}))


def test_another_method(tmp_path: Path) -> None:
    own = Explainer(DETECTOR, method="hirescam")
    made = bake(DETECTOR, tmp_path / "b.onnx", "hirescam", count=COUNT)
    x = tensor(own)
    assert_maps(own, x, run(made.path, {"image": x}))


def test_int8(tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Images(CalibrationDataReader):
        images = iter([tensor(Explainer(DETECTOR), shift) for shift in (0, 8)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self.images, None)
            return None if x is None else {"image": x}

    path = tmp_path / "int8.onnx"
    quantize_static(str(DETECTOR), str(path), Images(), QuantFormat.QDQ)
    own = Explainer(path)
    made = bake(path, tmp_path / "b.onnx", count=COUNT)
    x = tensor(own)
    assert_maps(own, x, run(made.path, {"image": x}))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"count": 0}, TargetError, "--count is 0; give the number of detections, 1 or more"),
        ({"count": 65}, TargetError, r"the model proposes 64 boxes, fewer than 65 \(--count\)"),
        ({"threshold": 1.5}, TargetError, "--threshold is 1.5; give a probability from 0 to 1, or input"),
        ({"threshold": "high"}, TargetError, "--threshold is 'high'; give a probability from 0 to 1, or input"),
        ({"threshold": "nan"}, TargetError, "--threshold is 'nan'; give a probability"),
        ({"target": "star"}, TargetError, "'star' cannot be baked into a detector: it explains its best detections"),
        ({"method": "gradient"}, MethodError, "gradient is not baked into detectors; these are: layercam"),
    ],
)
def test_what_cannot_be_baked(
    settings: dict[str, Any], error: type[OnnxcamError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        bake(DETECTOR, tmp_path / "b.onnx", **settings)
    assert not list(tmp_path.iterdir())


def test_the_command(onnxcam: Any, tmp_path: Path) -> None:
    found: Ran = onnxcam("bake", DETECTOR, "-o", tmp_path / "b.onnx", "--count", "3", "--threshold", "input")
    assert "onnxcam.boxes" in found.out
    assert "[batch,3,64,64]" in found.out
    failed: Ran = onnxcam("bake", DETECTOR, "-o", tmp_path / "c.onnx", "--count", "100")
    assert failed.code == 2
    assert "fewer than 100 (--count)" in failed.err
    assert not (tmp_path / "c.onnx").exists()


@pytest.mark.parametrize(
    "name",
    [
        "Ultralytics: v8",
        "Ultralytics: 26",
        "Megvii: YOLOX",
        "OpenCV zoo: YuNet",
        "transformers: DETR",
        "OpenMMLab: mmdeploy",
        "TensorFlow: detection API",
        "ONNX: suppression, y first",
        "Qualcomm: integers",
    ],
)
def test_a_layout(name: str, tmp_path: Path) -> None:
    convention = next(one for one in CONVENTIONS if one.name == name)
    onnx.save(convention.make(), tmp_path / "m.onnx")
    own = Explainer(tmp_path / "m.onnx")
    made = bake(tmp_path / "m.onnx", tmp_path / "b.onnx", count=COUNT)
    x = np.asarray(own.network.modality.tensor(convention.image()))
    assert assert_maps(own, x, run(made.path, {own.network.picture: x})) > 0


@new_runtime
@pytest.mark.parametrize(
    ("model", "photo"), [("ultraface_rfb320", "grace_hopper.jpg"), ("ssd_mobilenet_v1_coco_qdq_nms", "dog_cat.png")]
)
def test_real_detectors_find_what_python_finds(model: str, photo: str, real: Path, tmp_path: Path) -> None:
    path = real / "models" / f"{model}.onnx"
    own = Explainer(path)
    made = bake(path, tmp_path / "b.onnx", count=COUNT)
    x = np.asarray(own.network.modality.tensor(own.network.modality.read(real / "images" / photo)))
    found = run(made.path, {own.network.picture: x})
    ranked = truth(own, x)[:COUNT]
    assert ranked
    assert [int(k) for k in found[CLASSES][0][: len(ranked)]] == [category for _, category in ranked]
    for rank in range(len(ranked)):
        box = own.network.resolve(f"detection={rank}", own.network.look(x, None, {})).box
        np.testing.assert_allclose(found[BOXES][0][rank], box, atol=0.01)
        assert found["heatmap"][0, rank].max() == pytest.approx(1)
