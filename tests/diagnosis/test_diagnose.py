"""The ranking of tensors against runs with one tensor quantised, and of spoilt files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy.stats import spearmanr

from onnxcam.diagnosis.diagnose import Subject, diagnose
from onnxcam.diagnosis.pairing import pair
from onnxcam.diagnosis.repair import repair
from onnxcam.errors import DiagnosisError
from tests.compare.twins import PICTURES, SHAPES, photos, quantize
from tests.diagnosis.models import linear, linear_float, respell

WORST = 3
AGREES = 0.85


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the classifier of shapes as int8."""
    pytest.importorskip("onnxruntime.quantization", reason="onnxruntime cannot quantise here")
    folder = tmp_path_factory.mktemp("int8")
    return quantize(SHAPES, folder / "int8.onnx", photos(folder / "photos", 4), per_channel=True)


def test_effects_rank_as_runs_with_one_tensor_quantised_do(int8: Path) -> None:
    subject = Subject.open(SHAPES, int8, PICTURES)
    rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for prepared in subject.images:
        given = subject.explained(prepared)
        for damage, truth in zip(subject.probe(*given), subject.probe.measured(*given), strict=True):
            for name, values in truth.items():
                rows.setdefault(name, []).append((damage.effects[name], values))
    assert set(rows) == {"score", "outputs", "map"}
    for pairs in rows.values():
        mine, measured = (np.abs([pair[side] for pair in pairs]).mean(0) for side in (0, 1))
        assert spearmanr(mine, measured)[0] >= AGREES
        assert len(set(np.argsort(-mine)[:5]) & set(np.argsort(-measured)[:5])) >= 4


def tensors(int8: Path) -> list[str]:
    """Return the real tensors of its quantised activations."""
    return [node.input[0] for node in onnx.load(int8).graph.node if node.op_type == "QuantizeLinear"]


SPOILT = {"clipped": (1 / 12, 0), "coarse": (30.0, 0), "zero-point": (1.0, 100)}


@pytest.mark.parametrize("cause", SPOILT)
def test_the_spoilt_tensor_is_among_the_first(int8: Path, tmp_path: Path, cause: str) -> None:
    name = tensors(int8)[2]
    factor, shift = SPOILT[cause]
    spoilt = respell(int8, tmp_path / "spoilt.onnx", name, factor, shift)
    found = diagnose(SHAPES, spoilt, PICTURES)
    (place,) = [i for i, one in enumerate(found.tensors) if one.name == name]
    assert place < WORST
    cause_found = found.tensors[place].cause
    assert cause_found is not None
    assert cause_found.id == cause
    assert sum(one.share for one in found.tensors) == pytest.approx(1)


def test_without_a_float_model_only_activations_are_ranked(int8: Path, tmp_path: Path) -> None:
    name = tensors(int8)[2]
    found = diagnose(None, respell(int8, tmp_path / "spoilt.onnx", name, 1 / 12), PICTURES)
    assert found.tensors[0].name == name
    assert {one.kind for one in found.tensors} == {"activation"}
    assert name in found.sentence


def test_another_training_is_refused(int8: Path, tmp_path: Path) -> None:
    model = onnx.load(SHAPES)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim > 1:
            tensor.CopyFrom(onnx.numpy_helper.from_array(rng.normal(size=array.shape).astype(np.float32), tensor.name))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(DiagnosisError, match=r"the two models are not one network: \d+ of \d+ quantised weights"):
        diagnose(tmp_path / "other.onnx", int8, PICTURES)


def test_effects_of_weights_need_the_float_model(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "int8.onnx")
    onnx.save(linear_float(), tmp_path / "float.onnx")
    found = pair(tmp_path / "int8.onnx", tmp_path / "float.onnx", {"x": np.ones((1, 1, 2, 2), np.float32)})
    assert [one.kind for one in found.mixture.quantisers] == ["activation", "weight"]
    assert found.difference < 1e-6


def test_a_real_network_with_one_scale_divided_by_12(real: Path, tmp_path: Path) -> None:
    """The scale behind Relu__38 of the visual wake words network."""
    spoilt = respell(real / "models/vww_mobilenet_96_qdq.onnx", tmp_path / "spoilt.onnx", "Relu__38:0", 1 / 12)
    images = [real / "images/dog_cat.png", real / "images/horses.jpg"]
    how = "resize=96,crop=96x96,range=0-1"
    found = diagnose(real / "models/vww_mobilenet_96_f32.onnx", spoilt, images, preprocess=how)
    assert found.tensors[0].name == "Relu__38:0"
    assert "its range clips 2" in found.sentence


def test_an_option_that_does_not_exist() -> None:
    known = "method, layer, preprocess, labels, provider, settings, inputs, objects"
    for function in (diagnose, repair):
        with pytest.raises(TypeError, match=rf"{function.__name__}\(\) has no option 'methd'; .*{known}.*'method'"):
            function(linear_float(), linear(), PICTURES, methd="gradcam")
        for objects in (0, 101, 1.5, None):
            with pytest.raises(DiagnosisError, match=f"objects is {objects}; give a whole number from 1 to 100"):
                function(linear_float(), linear(), PICTURES, objects=objects)


def test_no_image_is_an_error() -> None:
    for most in (0, -1):
        with pytest.raises(DiagnosisError, match=f"most is {most}; give"):
            diagnose(linear_float(), linear(), PICTURES, most=most)
    with pytest.raises(DiagnosisError, match="most is 0"):
        repair(linear_float(), linear(), PICTURES, most=0)
