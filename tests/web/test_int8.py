"""Int8 files in the browser: where the maps are Python's, and that only ties of rounding can move them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx.numpy_helper import to_array

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.bake.dequantise import dequantise
from onnxcam.media import image
from tests.bake.baked import in_python
from tests.web import wasm
from tests.web.visitor import Visitor

MOBILENET, CAT = "mobilenet_v2_224_qdq_nchw_int8.onnx", 243


def given(file: Path | Any, made: Path, rgb: np.ndarray, preprocess: str) -> np.ndarray:
    """The pixels *rgb* as *made* takes them."""
    session = onnxruntime.InferenceSession(str(made))
    if session.get_inputs()[0].name == "picture":
        return rgb[None]
    arithmetic = replace(Explainer(file, preprocess=preprocess).network.preprocessing, resize=None, crop=None)
    return arithmetic(rgb)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("name", "preprocess"),
    [
        ("vww_mobilenet_96_qdq.onnx", "unit"),
        ("resnet8_cifar10_qdq.onnx", "raw"),
        ("mobilenet_v1_025_128_qdq.onnx", "unit"),
    ],
)
def test_the_map_of_an_int8_file_is_that_of_python(
    name: str, preprocess: str, inside: bool, page: Any, served: str, real: Path, tmp_path: Path
) -> None:
    file = real / "models" / name
    made = bake(file, tmp_path / "baked.onnx", target="input", inside=inside, preprocess=preprocess)
    visitor = Visitor(page, served)
    visitor.drop(made.path, real / "images" / "dog_cat.png")
    assert visitor.error is None
    said = page.evaluate("onnxcam.facts.preprocessing").replace(", ", ",")
    assert said == str(Explainer(file, preprocess=preprocess).network.preprocessing)
    index = visitor.result("top")[1]
    visitor.choose(index)
    expected = in_python(made.path, given(file, made.path, visitor.rgb, preprocess), index)[0]
    assert expected.max() > 0
    np.testing.assert_allclose(visitor.heatmap, expected, atol=1e-4)


def test_a_guessed_preprocessing_is_said_with_its_reason(page: Any, served: str, real: Path, tmp_path: Path) -> None:
    made = bake(real / "models" / MOBILENET, tmp_path / "baked.onnx", target="input")
    visitor = Visitor(page, served)
    visitor.drop(made.path)
    said = page.text_content("#facts")
    assert "range=0-1, mean=0.485/0.456/0.406, std=0.229/0.224/0.225" in said
    assert "(a guess: the input is int8 that represents " in said


def test_the_map_of_the_float_twin_is_that_of_python(page: Any, served: str, real: Path, tmp_path: Path) -> None:
    twin, made = tmp_path / "twin.onnx", tmp_path / "baked.onnx"
    ir.save(dequantise(real / "models" / MOBILENET), twin)
    bake(twin, made, target="input", preprocess="imagenet")
    visitor = Visitor(page, served)
    visitor.drop(made, real / "images" / "dog_cat.png")
    visitor.choose(CAT)
    expected = in_python(made, given(twin, made, visitor.rgb, "imagenet"), CAT)[0]
    assert expected.max() == 1
    np.testing.assert_allclose(visitor.heatmap, expected, atol=1e-4)


def tensor(real: Path) -> np.ndarray:
    """The photo as MobileNetV2 takes it, from Python."""
    explainer = Explainer(real / "models" / MOBILENET, preprocess="imagenet")
    return explainer.network.preprocessing(image.read(real / "images" / "dog_cat.png"))


@pytest.fixture(scope="module")
def mobilenet(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV2, whose integers meet exact ties on the photo: the last bit of a float Conv decides them."""
    path = tmp_path_factory.mktemp("int8") / "baked.onnx"
    return bake(real / "models" / MOBILENET, path, target="input", preprocess="imagenet").path


@pytest.fixture(scope="module")
def plain(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from onnxcam.web.server import server

    with server(wasm.prepare(site, tmp_path_factory.mktemp("plain"))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://localhost:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_the_page_adds_nothing_to_the_runtime(mobilenet: Path, page: Any, served: str, plain: str, real: Path) -> None:
    visitor = Visitor(page, served)
    visitor.drop(mobilenet, real / "images" / "dog_cat.png")
    assert page.text_content("#classes li:first-child .name") == "tiger cat"
    visitor.choose(CAT)
    found, x = visitor.heatmap, given(real / "models" / MOBILENET, mobilenet, visitor.rgb, "imagenet")
    page.goto(plain)
    alone = wasm.run(page, mobilenet.read_bytes(), _feeds(mobilenet, x))["heatmap"][0]
    np.testing.assert_allclose(found, alone, atol=1e-6)  # the page may have more threads
    expected = in_python(mobilenet, x, CAT)[0]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_layers_differ_by_one_quantum_at_ties_only_and_the_map_not_at_all(
    mobilenet: Path, page: Any, plain: str, real: Path
) -> None:
    """Each layer gets Python's integers, so that no difference is handed on."""
    x = tensor(real)
    feeds = _feeds(mobilenet, x)
    quantised, probed, apart = _layers(mobilenet, feeds)
    page.goto(plain)
    expected, found = _native(apart, probed), wasm.run(page, apart, probed)
    assert len(quantised) > 80
    flips = total = 0
    for name, (real_name, scale) in quantised.items():
        away = np.abs(found[name].astype(int) - expected[name])
        flips, total = flips + np.count_nonzero(away), total + away.size
        assert away.max() <= 1, name
        quanta = (expected[real_name] / scale)[away > 0]
        np.testing.assert_allclose(quanta % 1, 0.5, atol=1e-4, err_msg=name)
    assert total > 10_000_000
    assert flips <= 20  # 3 when it was written
    np.testing.assert_allclose(found["heatmap"], expected["heatmap"], atol=1e-4)


def test_one_quantum_of_one_pixel_moves_the_map_as_far_in_python(mobilenet: Path, real: Path) -> None:
    x, rng = tensor(real), np.random.default_rng(0)
    expected, away = in_python(mobilenet, x, CAT), []
    for place in rng.integers(x.size, size=6):
        moved = x.copy()
        moved.flat[place] += 1 if moved.flat[place] < 127 else -1
        away.append(np.abs(in_python(mobilenet, moved, CAT) - expected).max())
    assert max(away) > 0.1


def _feeds(file: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    name = next(each.name for each in onnx.load(file).graph.input if each.name != "onnxcam.class")
    return {name: x, "onnxcam.class": np.array([CAT])}


def _native(model: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model)
    return dict(zip((each.name for each in session.get_outputs()), session.run(None, feeds), strict=True))


def _layers(
    file: Path, feeds: dict[str, np.ndarray]
) -> tuple[dict[str, tuple[str, float]], dict[str, np.ndarray], bytes]:
    """Return what is quantised, {integers: (real numbers, scale)}; and the model with each layer on its own.

    The readers of each tensor of integers read an input instead, which is fed what Python computes there.
    """
    model = onnx.load(file)
    constants = {each.name: each for each in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    quantised = {node.output[0]: (node.input[0], float(to_array(constants[node.input[1]]))) for node in nodes}
    kinds = {node.output[0]: constants[node.input[2]].data_type for node in nodes}
    outputs = {each.name for each in model.graph.output}
    add = onnx.helper.make_tensor_value_info
    for name in quantised.keys() - outputs:
        model.graph.output.append(add(name, kinds[name], None))
    integers = _native(model.SerializeToString(), feeds)
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in quantised:
            node.input[0] = f"given.{node.input[0]}"
    given = {name for node in model.graph.node for name in node.input if name.startswith("given.")}
    for name in given:
        own = name.removeprefix("given.")
        model.graph.input.append(add(name, kinds[own], integers[own].shape))
    for name, _ in quantised.values():
        model.graph.output.append(add(name, onnx.TensorProto.FLOAT, None))
    return (
        quantised,
        feeds | {name: integers[name.removeprefix("given.")] for name in given},
        model.SerializeToString(),
    )
