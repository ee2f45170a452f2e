"""Files of tasks other than classification: quantised, half precision, older opsets, preprocessing inside, metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime import quantization
from onnxruntime.transformers.float16 import convert_float_to_float16

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.errors import TargetError
from onnxcam.graph.io import load
from onnxcam.media import heatmap
from onnxcam.media.frame import Frame
from onnxcam.metadata.reserved import load_bare, stamp_of
from tests.bake.tasks import MODELS, assert_same, baked, letters, run, shapes, tensors
from tests.command import Ran
from tests.runtime import new_runtime
from tests.zoo.conventions import CONVENTIONS

SEGMENTER = MODELS / "segmenter.onnx"
TASKS = {
    "segmenter": ("segmentation", {"onnxcam.class": np.int64([-1]), "onnxcam.point": np.float32([[30, 30]])}),
    "embedder": ("embedding", {"onnxcam.reference": np.ones((1, 32), np.float32)}),
    "upscaler": ("image", {"onnxcam.patch": np.float32([[4, 4, 30, 30]])}),
    "reader": ("text", {"onnxcam.character": np.int64([1])}),
}


def image_of(name: str) -> np.ndarray:
    return letters() if name == "reader" else shapes()


class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc]
    """A few tensors, by which ranges are found."""

    def __init__(self, name: str, x: np.ndarray) -> None:
        self._rows: Iterator[dict[str, Any]] = iter([{name: x[i : i + 1]} for i in range(len(x))])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rows, None)


def int8(name: str, folder: Path) -> Path:
    own = Explainer(MODELS / f"{name}.onnx")
    x = tensors(own, *(image_of(name) for _ in range(2)))
    quantization.quantize_static(MODELS / f"{name}.onnx", folder / "int8.onnx", Calibration(own.network.picture, x))
    return folder / "int8.onnx"


def half(name: str, folder: Path) -> Path:
    onnx.save(convert_float_to_float16(onnx.load(MODELS / f"{name}.onnx")), folder / "half.onnx")
    return folder / "half.onnx"


@pytest.mark.parametrize("make", [int8, half])
@pytest.mark.parametrize("name", ["segmenter", "embedder", "upscaler"])
def test_quantised_and_half_precision_files(make: Callable[..., Path], name: str, tmp_path: Path) -> None:
    path = make(name, tmp_path)
    own = Explainer(path, preprocess="unit")
    x = tensors(own, shapes())
    _, found = baked(path, tmp_path, {own.network.picture: x})
    assert_same(found["onnxcam.map"], own.attribute(x))
    for output, value in run(path, {own.network.picture: x}).items():
        np.testing.assert_array_equal(found[output], value)


@pytest.mark.parametrize("name", ["selfie_segmentation", "deeplabv3_mnv2_voc_f32"])
def test_half_precision_keeps_its_bits_in_its_own_opset(name: str, real: Path, tmp_path: Path) -> None:
    model = convert_float_to_float16(onnx.load(real / "models" / f"{name}.onnx"))
    onnx.save(model, tmp_path / "half.onnx")
    own = Explainer(tmp_path / "half.onnx", preprocess="unit")
    feeds = {own.network.picture: tensors(own, shapes((257, 257) if "deeplab" in name else (256, 256)))}
    plain = run(tmp_path / "half.onnx", feeds)
    for opset, same in ((17, True), (None, False)):
        made = bake(tmp_path / "half.onnx", tmp_path / "b.onnx", opset=opset, preprocess="unit", overwrite=True)
        found = run(made.path, feeds)
        assert all(np.array_equal(found[name], value) for name, value in plain.items()) == same  # docs/bake.md


@new_runtime
@pytest.mark.parametrize(
    "name", ["deeplabv3_mnv2_voc_f32", "selfie_segmentation", "mobilefacenet_embed128", "espcn_x2"]
)
def test_real_networks(name: str, real: Path, tmp_path: Path) -> None:
    path, settings = real / "models" / f"{name}.onnx", {"preprocess": "unit"}
    own = Explainer(path, **settings)
    layout = own.network.layout
    assert layout is not None
    size = tuple(n if isinstance(n, int) else 64 for n in layout.size(own.network.image))
    x = own.network.modality.tensor(shapes((size[0], size[1])))
    _, found = baked(path, tmp_path, {own.network.picture: x}, **settings)
    assert_same(found["onnxcam.map"], own.attribute(x))
    for output, value in run(path, {own.network.picture: x}).items():
        np.testing.assert_array_equal(found[output], value)


@pytest.mark.parametrize(("name", "opset"), [*((name, 17) for name in TASKS), ("segmenter", 13), ("reader", 13)])
def test_older_opsets(name: str, opset: int, tmp_path: Path) -> None:
    model, (_, inputs) = MODELS / f"{name}.onnx", TASKS[name]
    own = Explainer(model)
    feeds = {own.network.picture: tensors(own, image_of(name)), **inputs}
    made, older = baked(model, tmp_path, feeds, "input", opset=opset)
    assert made.opset == opset
    _, found = baked(model, tmp_path, feeds, "input")
    np.testing.assert_allclose(older["heatmap"], found["heatmap"], atol=1e-5)
    assert found["heatmap"].max() == 1


@pytest.mark.parametrize("name", TASKS)
def test_the_heat_map_has_the_size_of_the_input_also_as_uint8(name: str, tmp_path: Path) -> None:
    model, (_, inputs) = MODELS / f"{name}.onnx", TASKS[name]
    own = Explainer(model)
    x = tensors(own, image_of(name))
    feeds = {own.network.picture: x, **inputs}
    _, small = baked(model, tmp_path, feeds, "input")
    height, width = x.shape[2:]
    size = heatmap.enlarge(small["onnxcam.map"][0], Frame(0, 0, width, height), (height, width))
    for uint8 in (False, True):
        found = run(bake(model, tmp_path / f"{uint8}.onnx", target="input", uint8=uint8).path, feeds)["heatmap"]
        assert found.shape == (1, height, width)
        expected = heatmap.normalize(size)
        np.testing.assert_allclose(found[0] / 255 if uint8 else found[0], expected, atol=1 / 254 if uint8 else 1e-4)


def test_pictures_in_and_an_overlay_out(tmp_path: Path) -> None:
    made = bake(SEGMENTER, tmp_path / "b.onnx", target="input", inside=True, overlay=True)
    picture = shapes()
    point = {"onnxcam.class": np.int64([-1]), "onnxcam.point": np.float32([[40, 33]])}
    found = run(made.path, {"picture": picture[None], **point})
    own = Explainer(SEGMENTER)
    wanted = own(picture, int(found["onnxcam.class.chosen"][0]))
    np.testing.assert_allclose(found["heatmap"][0], wanted.map, atol=1e-4)
    assert np.abs(found["overlay"][0].astype(int) - wanted.overlay()).max() <= 2


def test_the_overlay_of_several_maps_is_that_of_the_first(tmp_path: Path) -> None:
    made = bake(MODELS / "reader.onnx", tmp_path / "b.onnx", target="all", count=2, inside=True, overlay=True)
    found = run(made.path, {"picture": letters()[None]})
    assert found["heatmap"].shape == (1, 2, 32, 128)
    assert found["overlay"].shape == (1, 32, 128, 3)


@pytest.mark.parametrize("name", TASKS)
def test_the_file_says_its_task_and_is_read_as_the_network_inside(name: str, tmp_path: Path) -> None:
    model, (task, inputs) = MODELS / f"{name}.onnx", TASKS[name]
    made = bake(model, tmp_path / "b.onnx", target="input")
    stamp = stamp_of(load(made.path).metadata_props)
    method = "refined-layercam" if task == "text" else "layercam"
    assert (stamp["task"], stamp["method"]) == (task, method)
    assert stamp["inputs"].keys() == inputs.keys()
    plain, bare = load(model), load_bare(made.path)
    for side in ("inputs", "outputs"):
        assert [x.name for x in getattr(bare.graph, side)] == [x.name for x in getattr(plain.graph, side)]
    picture = image_of(name)
    np.testing.assert_allclose(Explainer(made.path)(picture).map, Explainer(model)(picture).map, atol=1e-5)


def test_names_that_the_model_has_are_left_to_it(tmp_path: Path) -> None:
    brightener = MODELS / "brightener.onnx"  # its output is called "picture"
    made = bake(brightener, tmp_path / "b.onnx", target="input", inside=True)
    assert {"onnxcam.picture", "onnxcam.patch"} == made.inputs.keys()
    stamp = stamp_of(load(made.path).metadata_props)
    assert stamp["names"] == {"picture": "onnxcam.picture"}
    found = run(made.path, {"onnxcam.picture": shapes()[None], "onnxcam.patch": np.zeros((1, 4), np.float32)})
    own = Explainer(brightener, preprocess=Explainer(brightener).network.preprocessing)
    np.testing.assert_allclose(found["heatmap"][0], own(shapes()).map, atol=1e-3)
    assert [x.name for x in load_bare(made.path).graph.inputs] == [own.network.picture]
    assert [y.name for y in load_bare(made.path).graph.outputs] == own.network.outputs


def test_an_output_called_heatmap_stays(tmp_path: Path) -> None:
    model = next(one for one in CONVENTIONS if one.name == "heatmaps-by-name").make()
    (own,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["heatmap" if name == own.name else name for name in node.output]
    own.name = "heatmap"
    onnx.save(model, tmp_path / "zoo.onnx")
    made = bake(tmp_path / "zoo.onnx", tmp_path / "b.onnx")
    assert list(made.outputs) == ["onnxcam.heatmap"]
    assert [y.name for y in load_bare(made.path).graph.outputs] == ["heatmap"]


def test_the_method_is_that_of_the_task_or_the_users(tmp_path: Path) -> None:
    assert stamp_of(load(bake(SEGMENTER, tmp_path / "a.onnx").path).metadata_props)["method"] == "layercam"
    made = bake(SEGMENTER, tmp_path / "b.onnx", "gradcam")
    own = Explainer(SEGMENTER, method="gradcam")
    x = tensors(own, shapes())
    np.testing.assert_allclose(run(made.path, {"image": x})["heatmap"][0], own(shapes()).map, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "words", "message"),
    [
        ("segmenter", ("-t", "zebra"), "zebra"),
        ("segmenter", ("-t", "9"), "class 9 is out of range: the model has 7 classes, 0 to 6"),
        ("segmenter", ("-t", "class=star mask=m.png"), "cannot be baked; give top, input, a class index or a label"),
        ("segmenter", ("--count", "0"), "a segmentation with target 'top' takes no count (--count)"),
        ("reader", ("-t", "all", "--threshold", "1"), "with target 'all' takes no threshold (--threshold)"),
        ("segmenter", ("--count", "3"), "a segmentation with target 'top' takes no count (--count)"),
        ("segmenter", ("--threshold", "0.5"), "a segmentation with target 'top' takes no threshold (--threshold)"),
        ("segmenter", ("-m", "rise"), "rise asks the network many times and cannot be baked"),
        ("upscaler", ("-t", "star"), "target 'star' cannot be baked; give top, input or patch=x1,y1,x2,y2"),
        ("embedder", ("-t", "like=missing.png"), "missing.png"),
        ("reader", ("-t", "text=AB12"), "cannot be baked: the file explains what it reads; give top, input or all"),
        ("reader", ("-t", "all", "--count", "33"), "33 maps (--count): give at least 1 and at most 32"),
        ("reader", ("-t", "all", "--count", "0"), "0 maps (--count): give at least 1 and at most 32"),
        ("captioner", (), "cannot be baked: `onnxcam explain` explains it; bake an element of an output instead"),
    ],
)
def test_bad_input_is_one_line(
    model: str, words: tuple[str, ...], message: str, onnxcam: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = onnxcam("bake", MODELS / f"{model}.onnx", "-o", tmp_path / "b.onnx", *words)
    assert ran.code == 2
    assert message in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("upscaler", "patch=0,0,129,20", "the patch 0,0,129,20 does not lie in what the model puts out, 128 × 128"),
        ("monodepth2", "region=70,0,90,9", "the region 70,0,90,9 does not lie in the image, 64 × 64 pixels"),
        ("vitpose", "keypoint=99", "there is no keypoint 99"),
        ("age", "star", "target 'star' cannot be baked; give top, input, all or"),
        ("hopenet", "input", "target 'input' cannot be baked; give top or"),
    ],
)
def test_what_lies_outside_is_refused(name: str, target: str, message: str, tmp_path: Path) -> None:
    onnx.save(next(one for one in CONVENTIONS if one.name == name).make(), tmp_path / "zoo.onnx")
    with pytest.raises(TargetError, match=message):
        bake(tmp_path / "zoo.onnx", tmp_path / "b.onnx", target=target)
    assert not (tmp_path / "b.onnx").exists()


def test_the_command_bakes_a_segmentation(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    ran = onnxcam("bake", SEGMENTER, "-o", tmp_path / "b.onnx", "--target", "input")
    assert ran.code == 0, ran.err
    for name in ("onnxcam.point", "onnxcam.class.chosen", "heatmap"):
        assert name in ran.out
    told = onnxcam("inspect", tmp_path / "b.onnx").out
    assert "baked by onnxcam: layercam at" in told
    assert json.loads(load(tmp_path / "b.onnx").metadata_props["onnxcam.baked"])["target"] == "input"
