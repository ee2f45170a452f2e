"""`repair` turns a spoilt int8 file into one that passes, with few nodes in float."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxcam
from onnxcam.compare.validate import validate
from onnxcam.diagnosis import repair as module
from onnxcam.diagnosis import repair_tuning
from onnxcam.diagnosis.exports import DAMAGE, annotate
from onnxcam.diagnosis.keep_float import KeepFloat
from onnxcam.diagnosis.repair import repair
from onnxcam.diagnosis.repair_report import save_report
from onnxcam.diagnosis.repair_result import REPAIRED, Repair
from onnxcam.diagnosis.repair_trial import split
from onnxcam.errors import DiagnosisError, OutputError
from onnxcam.graph.io import load
from tests.compare.tasks import twins
from tests.runtime import new_runtime

pytestmark = new_runtime

SHAPES = Path(onnxcam.__file__).parent / "assets" / "shapes.onnx"
MOST = 5
"""Nodes in float that a repair may need."""


def _noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 20, (96, 96, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images."""
    return twins.drawn(tmp_path_factory.mktemp("repair") / "images", count=6)


@pytest.fixture(scope="module")
def int8(images: Path) -> Path:
    """Return the classifier as int8."""
    return twins.quantised(SHAPES, images, images.parent / "int8.onnx")


def _edited(model: Path, path: Path, **arrays: Any) -> Path:
    """Write *model* with constants replaced; each value is made of the old one."""
    made = onnx.load(model)
    for tensor in made.graph.initializer:
        if tensor.name in arrays:
            old = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(arrays[tensor.name](old), old.dtype), tensor.name))
    onnx.save(made, path)
    return path


def _repaired(reference: Path | None, spoilt: Path, images: Path, **options: Any) -> Repair:
    """Return the repair of a file that fails, and check that the repaired one passes on all images."""
    found = repair(reference, spoilt, images, **options)
    assert found.passed
    assert not found.already
    assert len(found.nodes) <= MOST
    assert any(not one.held for one in found.measures) or options
    found.save(spoilt.with_name("fixed.onnx"), [spoilt])
    if reference is not None:
        require = options.get("require")
        assert not validate(reference, spoilt, images, require=require).meets
        assert validate(reference, spoilt.with_name("fixed.onnx"), images, require=require).meets
    return found


def _without_units(patch: pytest.MonkeyPatch) -> None:
    """Make repairs keep the scales and zero points."""
    patch.setattr(repair_tuning, "_UNITS", frozenset())
    patch.setattr(repair_tuning.Tuning, "ranges", lambda self, units: dict(units))


def test_a_scale_that_is_too_small(int8: Path, images: Path, tmp_path: Path) -> None:
    spoilt = _edited(int8, tmp_path / "spoilt.onnx", relu_1_scale=lambda old: old / 60)
    found = _repaired(SHAPES, spoilt, images)
    assert [one.tensor for one in found.rewrites] == ["relu_1_QuantizeLinear_Output"]
    assert not found.nodes
    assert found.rewrites[0].after < 0.1 * found.rewrites[0].before
    assert "its range clips" in found.sentence
    assert "a better scale for 1 tensor restores" in found.sentence


def test_a_zero_point_that_moved(int8: Path, images: Path, tmp_path: Path) -> None:
    spoilt = _edited(int8, tmp_path / "spoilt.onnx", logits_zero_point=lambda old: 250)
    assert _repaired(SHAPES, spoilt, images).rewrites[0].zero != [250]


def test_a_clipped_range(int8: Path, images: Path, tmp_path: Path) -> None:
    spoilt = _edited(
        int8, tmp_path / "spoilt.onnx", features_scale=lambda old: old / 40, logits_scale=lambda old: old / 9
    )
    assert {one.name for one in _repaired(SHAPES, spoilt, images).rewrites} >= {"features", "logits"}


def test_ranges_that_are_too_wide_without_a_named_cause(int8: Path, images: Path, tmp_path: Path) -> None:
    scales = {node.input[1] for node in onnx.load(int8).graph.node if node.op_type == "QuantizeLinear"}
    wide = _edited(int8, tmp_path / "wide.onnx", **{name: lambda old: old * 6 for name in scales})
    found = _repaired(SHAPES, wide, images, require="iou>=0.97")
    assert len(found.rewrites) >= 5
    assert any("changes the outputs" in one.why for one in found.rewrites)
    assert all(one.after < 0.5 * one.before for one in found.rewrites)
    assert not found.nodes


def test_a_calibration_on_noise(images: Path, tmp_path: Path) -> None:
    noise = twins.drawn(tmp_path / "noise", _noise, 4)
    found = _repaired(SHAPES, twins.quantised(SHAPES, noise, tmp_path / "noise.onnx"), images)
    assert len(found.rewrites) >= 2


@pytest.fixture(scope="module")
def uneven(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a classifier with very different channels, and its int8 form with one scale for all."""
    folder = tmp_path_factory.mktemp("uneven")
    factors = np.exp(np.random.default_rng(0).uniform(0, np.log(3000), 32)).astype(np.float32)
    names = {node.output[0]: list(node.input) for node in onnx.load(SHAPES).graph.node if node.op_type == "Conv"}
    first, second = list(names.values())[1:3]
    real = _edited(
        SHAPES,
        folder / "float.onnx",
        **{
            first[1]: lambda old: old * factors[:, None, None, None],
            first[2]: lambda old: old * factors,
            second[1]: lambda old: old / factors[None, :, None, None],
        },
    )
    return real, twins.quantised(real, images, folder / "int8.onnx", per_channel=False)


def test_equal_channels(uneven: tuple[Path, Path], images: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repair_tuning, "channel_axis", lambda *_: None)  # as before opset 13
        found = _repaired(*uneven, images)
    assert "relu_1_QuantizeLinear_Output" in found.equalised
    assert not found.nodes
    assert "equalising the channels of" in found.sentence
    assert found.as_dict()["equalised"] == found.stamp()["equalised"] == list(found.equalised)


def test_weights_with_one_scale_for_very_different_channels(uneven: tuple[Path, Path], images: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "equalised", lambda *_: None)
        found = _repaired(*uneven, images)
    assert "per-tensor" in {one.cause.id for one in found.diagnosis.tensors if one.cause}  # type: ignore[union-attr]
    assert 32 in {len(one.scale) for one in found.rewrites}


def test_one_scale_for_boxes_and_scores(tmp_path: Path) -> None:
    images = twins.drawn(tmp_path / "images", count=4)
    detector = twins.MODELS / "detector.onnx"
    joined = twins.quantised(detector, images, tmp_path / "int8.onnx")
    found = repair(detector, joined, images, require="score_change<=0.02")
    assert found.passed
    assert found.tensors  # the joined tensor itself needs no operator in float
    assert len(found.nodes) <= MOST


@pytest.fixture(scope="module")
def kept(int8: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Repair, Path]:
    """Return a repair by floats alone, and the file."""
    folder = tmp_path_factory.mktemp("kept")
    spoilt = _edited(int8, folder / "spoilt.onnx", relu_4_scale=lambda old: old / 40)
    with pytest.MonkeyPatch.context() as patch:
        _without_units(patch)
        return _repaired(SHAPES, spoilt, images), spoilt


def test_few_nodes_in_float(kept: tuple[Repair, Path]) -> None:
    found, spoilt = kept
    assert found.tensors == ["relu_4_QuantizeLinear_Output"]
    assert found.nodes == ["node_Conv_104", "node_Conv_106"]
    assert 0.2 < found.work < 0.6
    assert "keeping 2 nodes in float" in found.sentence
    assert found.slower is not None
    assert set(found.seconds) == {"before", "after", "float"}
    written = onnx.load(spoilt.with_name("fixed.onnx"))
    said = json.loads(next(one.value for one in written.metadata_props if one.key == REPAIRED))
    assert said["float"] == found.tensors
    assert str(spoilt.parent) not in str(written.metadata_props)


def test_the_lists_for_other_quantisers(kept: tuple[Repair, Path], tmp_path: Path) -> None:
    found, _ = kept
    save_report(found, tmp_path / "report", ["ort", "nncf", "qnn", "aimet", "tensorrt", "tflite"])
    read = {path.name: path.read_text() for path in (tmp_path / "report").iterdir()}
    assert json.loads(read["repair.json"])["nodes"] == found.nodes
    excluded = json.loads(read["nodes_to_exclude.json"])["nodes_to_exclude"]
    assert {"node_Conv_104", "node_Conv_106"} <= set(excluded)
    assert "IgnoredScope(names=['node_" in read["ignored_scope.py"]
    overrides = json.loads(read["quantization_overrides.json"])
    assert overrides["activation_encodings"]["relu_4"] == [{"bitwidth": 16, "dtype": "float"}]
    assert read["aimet_encodings.json"] == read["quantization_overrides.json"]
    assert "node_Conv_104:fp32" in read["trtexec.txt"]
    assert "relu_4" in json.loads(read["denylisted_nodes.json"])["denylisted_nodes"]


def test_onnxruntime_quantises_again_with_the_list(kept: tuple[Repair, Path], images: Path, tmp_path: Path) -> None:
    """The list makes a passing file where the quantiser spoils the same tensor again."""
    found, _ = kept
    made = twins.quantised(SHAPES, images, tmp_path / "again.onnx", nodes_to_exclude=list(found.keep.nodes))
    again = _edited(made, tmp_path / "again.onnx", relu_4_scale=lambda old: old / 40)
    assert not any(node.name == "relu_4_QuantizeLinear" for node in onnx.load(again).graph.node)
    assert validate(SHAPES, again, images).meets


def test_a_file_that_passes_is_left_alone(int8: Path, images: Path) -> None:
    found = repair(SHAPES, int8, images)
    assert found.already
    assert found.passed
    assert found.sentence.startswith("the file meets all requirements as it is")


def test_without_a_float_model(int8: Path, images: Path, tmp_path: Path) -> None:
    spoilt = _edited(int8, tmp_path / "spoilt.onnx", relu_1_scale=lambda old: old / 60)
    found = _repaired(None, spoilt, images)
    assert {one.kind for one in found.rewrites} <= {"activation"}


def test_a_requirement_that_the_float_network_does_not_meet(int8: Path, images: Path, tmp_path: Path) -> None:
    spoilt = _edited(int8, tmp_path / "spoilt.onnx", relu_1_scale=lambda old: old / 60)
    with pytest.raises(DiagnosisError, match=r"even with all \d+ tensors in float .* requirement pearson > 1: it is 1"):
        repair(SHAPES, spoilt, images, require="pearson>1")


def test_one_image_is_too_few(int8: Path, images: Path) -> None:
    with pytest.raises(DiagnosisError, match="at least 2 images"):
        repair(SHAPES, int8, images / "000.png")


def test_images_of_search_and_confirmation_are_apart(images: Path) -> None:
    search, confirmation, left_out = split(images)
    assert not left_out
    assert len(search) == len(confirmation) == 3
    assert not set(search) & set(confirmation)
    assert split([images, images]) == (search, confirmation, [])


def test_unreadable_images_are_left_out(int8: Path, images: Path, tmp_path: Path) -> None:
    spoilt = _edited(int8, tmp_path / "spoilt.onnx", relu_1_scale=lambda old: old / 60)
    mixed = tmp_path / "mixed"
    shutil.copytree(images, mixed)
    for name in split(images)[0]:  # all images of the search
        (mixed / Path(name).name).write_bytes(b"no image")
    search, confirmation, left_out = split(mixed)
    assert (len(search), len(confirmation), len(left_out)) == (1, 2, 3)
    found = _repaired(SHAPES, spoilt, mixed)
    assert [one for one in found.warnings if one.startswith("left out")] == left_out
    for path in mixed.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DiagnosisError, match=r"at least 2 images.*\(left out: .*000.png"):
        repair(SHAPES, spoilt, mixed)


def test_notes_of_an_annotated_file_are_removed(int8: Path, images: Path, tmp_path: Path) -> None:
    spoilt = _edited(int8, tmp_path / "spoilt.onnx", relu_1_scale=lambda old: old / 60)
    annotate(onnxcam.diagnose(SHAPES, spoilt, images, most=1), spoilt, tmp_path / "annotated.onnx")
    found = repair(SHAPES, tmp_path / "annotated.onnx", images)
    assert DAMAGE in str([node.metadata_props for node in load(tmp_path / "annotated.onnx").graph])
    assert not [key for node in found.model.graph for key in node.metadata_props if key.startswith("onnxcam.")]


def test_lists_of_an_earlier_repair_are_removed(kept: tuple[Repair, Path], tmp_path: Path) -> None:
    found, _ = kept
    save_report(found, tmp_path, ["ort", "nncf"])
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds a finished repair; choose another folder with -o, or --overwrite"):
        save_report(found, tmp_path, ["nncf"])
    save_report(found, tmp_path, ["nncf"], overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"repair.json", "ignored_scope.py", "mine.txt"}
    save_report(replace(found, keep=KeepFloat([], [], [], [])), tmp_path, ["nncf"], overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"repair.json", "mine.txt"}


def test_biases_are_corrected_where_this_is_enough(images: Path, tmp_path: Path) -> None:
    made = twins.quantised(SHAPES, images, tmp_path / "int8.onnx")
    name = "layer5.0.weight_bias_quantized"
    scale = next(numpy_helper.to_array(one) for one in onnx.load(made).graph.initializer if one.name == f"{name}_scale")
    spoilt = _edited(made, tmp_path / "spoilt.onnx", **{name: lambda old: old + np.rint(4.0 / scale)})
    assert [one.tensor for one in _repaired(SHAPES, spoilt, images).rewrites] == [name]
    with pytest.MonkeyPatch.context() as patch:
        _without_units(patch)
        found = _repaired(SHAPES, spoilt, images)
    assert name in found.biases
    assert not found.nodes
    assert "correcting" in found.sentence


def test_a_list_that_fails_the_confirmation_grows(int8: Path, images: Path, tmp_path: Path) -> None:
    spoilt = _edited(
        int8, tmp_path / "spoilt.onnx", relu_1_scale=lambda old: old / 60, features_scale=lambda old: old / 40
    )
    with pytest.MonkeyPatch.context() as patch:
        _without_units(patch)
        patch.setattr(module, "least", lambda ranking, holds: list(ranking[-1:]))
        found = repair(SHAPES, spoilt, images)
    assert found.passed
    assert len(found.tensors) > 1
    assert any("failed on the images of the confirmation" in one for one in found.warnings)


def test_a_repair_that_fails_is_not_written(kept: tuple[Repair, Path], tmp_path: Path) -> None:
    found = kept[0]
    failed = replace(found, measures=[replace(one, holds=False) for one in found.measures])
    assert "does not suffice" in failed.sentence
    with pytest.raises(DiagnosisError, match="not written"):
        failed.save(tmp_path / "fixed.onnx")
    assert not (tmp_path / "fixed.onnx").exists()


def test_the_file_is_not_written_over_an_input(kept: tuple[Repair, Path]) -> None:
    found, spoilt = kept
    with pytest.raises(OutputError, match="cannot be its output"):
        found.save(spoilt, [spoilt])
