"""The baked file: its own outputs as they were, and the map that Python makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.bake.outputs import MapSize
from onnxcam.bake.providers import inspect, named
from onnxcam.errors import MethodError, ModelError, PreprocessError, TargetError
from onnxcam.media import heatmap
from onnxcam.media.frame import Frame
from onnxcam.methods import METHODS
from tests.bake.baked import SHAPES, SIZE, picture, session, tensor
from tests.networks import HAND_X, hand_model
from tests.precision import network as half
from tests.quantized import qdq


def own_size(method: str) -> MapSize:
    """The size of the method's map: a layer's, or the input's."""
    return "layer" if METHODS[method].at_layer else "input"


def flat(method: str, raw: np.ndarray) -> np.ndarray:
    entry = METHODS[method]
    return heatmap.flat(raw, None if entry.at_layer else 0, summed=entry.sums_channels)


@pytest.mark.parametrize(
    "method",
    [id for id, each in METHODS.items() if each.in_graph and not (each.needs_attention or each.needs_words)],
)
def test_the_map_is_that_of_python(method: str, tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "b.onnx", method, target="star", map_size=own_size(method))
    (cpu,) = inspect(made.path, named("cpu"))
    assert not cpu.lacks
    raw = Explainer(SHAPES, method=method).attribute(tensor(2), target="star")
    maps = [heatmap.normalize(flat(method, one)) for one in raw]
    (found,) = session(made.path).run(["heatmap"], {"image": tensor(2)})
    np.testing.assert_allclose(found, np.stack(maps), atol=1e-4)


def test_the_models_own_outputs_stay_bit_for_bit(tmp_path: Path) -> None:
    files = {"float": SHAPES.read_bytes(), "int8": qdq(integer=True).SerializeToString()}
    for name, file in files.items():
        made = bake(file, tmp_path / f"{name}.onnx")
        plain, baked = session(file), session(made.path)
        given = plain.get_inputs()[0]
        shape = [dim if isinstance(dim, int) else 1 for dim in given.shape]
        dtype = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8}[given.type]
        x = np.random.default_rng(0).uniform(0, 1 if dtype == np.float32 else 100, shape).astype(dtype)
        names = [output.name for output in plain.get_outputs()]
        for before, after in zip(plain.run(names, {given.name: x}), baked.run(names, {given.name: x}), strict=True):
            np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("method", ["gradcam", "gradient", "excitation-backprop"])
def test_of_half_precision(method: str, tmp_path: Path) -> None:
    model, x = half("float16"), np.random.default_rng(0).uniform(0, 1, (1, 3, 8, 8)).astype(np.float16)
    made = bake(model, tmp_path / "b.onnx", method, target=1, map_size=own_size(method))
    raw = Explainer(model, method=method).attribute(x, target=1)[0]
    shown = flat(method, raw)
    (found,) = session(made.path).run(["heatmap"], {"x": x})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], heatmap.normalize(shown), atol=1e-4)


def test_pictures_in_pictures_out(tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "b.onnx", inside=True, overlay=True, uint8=True)
    assert made.inputs["picture"].startswith("uint8")
    heat, drawn = session(made.path).run(["heatmap", "overlay"], {"picture": picture()[None]})
    expected = Explainer(SHAPES)(picture())
    assert heat.dtype == drawn.dtype == np.uint8
    assert np.abs(heat[0].astype(int) - np.round(255 * expected.map)).max() <= 1
    assert np.abs(drawn[0].astype(int) - expected.overlay()).max() <= 2


@pytest.mark.parametrize("target", ["top", "input", 3, "star"])
def test_the_class_is_the_models_own_an_input_or_fixed(target: Any, tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "b.onnx", target=target)
    feeds = {"image": tensor(2)}
    if target == "input":
        feeds["onnxcam.class"] = np.array([3, 0])
    baked = session(made.path)
    assert {value.name for value in baked.get_inputs()} == feeds.keys()
    (found,) = baked.run(["heatmap"], feeds)
    wanted = [3, 0] if target == "input" else target
    raw = Explainer(SHAPES).attribute(tensor(2), target=wanted)
    for one, expected in zip(found, raw, strict=True):
        size = heatmap.enlarge(expected, Frame(0, 0, SIZE, SIZE), (SIZE, SIZE))
        np.testing.assert_allclose(one, heatmap.normalize(size), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"method": "rise"}, MethodError, "rise asks the network many times and cannot be baked .* these can: cam, "),
        ({"settings": {"smooth": "aug"}}, MethodError, "smooth=aug asks the network many times and cannot be baked"),
        ({"overlay": True}, PreprocessError, "the overlay lies over the image: bake the preprocessing too"),
        ({"target": "not star"}, TargetError, "target 'not star' cannot be baked; give top, input, a class index"),
        ({"target": 9}, TargetError, "class 9 is out of range"),
        ({"opset": 9}, ModelError, "the baked model cannot be written in opset 9: .*; it is in opset 18"),
    ],
)
def test_what_cannot_be_baked(settings: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        bake(SHAPES, tmp_path / "b.onnx", **settings)
    assert not list(tmp_path.iterdir())


def test_a_blank_map_stays_blank(tmp_path: Path) -> None:
    made = bake(hand_model(), tmp_path / "b.onnx", target=0, map_size="layer")
    (found,) = session(made.path).run(["heatmap"], {"x": -np.abs(HAND_X)})
    np.testing.assert_array_equal(found, np.zeros_like(found))


@pytest.mark.parametrize("method", ["gradcam", "gradient", "layercam"])
def test_the_raw_map_and_its_class_are_outputs_where_asked(method: str, tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "b.onnx", method, raw=True)
    found = dict(zip(made.outputs, session(made.path).run(list(made.outputs), {"image": tensor(2)}), strict=True))
    assert list(found) == ["heatmap", "onnxcam.map", "onnxcam.class.chosen"]
    explainer = Explainer(SHAPES, method=method)
    raw = explainer.attribute(tensor(2))
    maps = [flat(method, one) for one in raw]
    np.testing.assert_allclose(found["onnxcam.map"], np.stack(maps), atol=1e-4 * np.abs(raw).max())
    np.testing.assert_array_equal(found["onnxcam.class.chosen"], explainer.classes(tensor(2)))
