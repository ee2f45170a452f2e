"""The page in a real browser: files are dropped, and the map that comes is Python's."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.media import colours, heatmap, image
from onnxcam.metadata.reserved import BAKED
from onnxcam.preprocess import parse
from tests.bake.baked import ASSETS, SHAPES, in_python, picture
from tests.web.visitor import Visitor

PICTURE = ASSETS / "shapes_1.png"
STAR, CIRCLE = 3, 0


@pytest.fixture
def visitor(page: Any, served: str) -> Visitor:
    return Visitor(page, served)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An image of the model's own size, so that nothing is resized."""
    path = tmp_path / "small.png"
    image.write(path, picture())
    return path


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"inside": True}, 1e-4),
        ({"target": "input", "inside": True, "uint8": True}, 1),
        ({"target": "star"}, 1e-4),
        ({"target": "input", "map_size": "layer", "uint8": True}, 1),
        ({"target": "input", "method": "hirescam", "map_size": "layer"}, 1e-4),
        ({"preprocess": "raw,mean=100,std=50,order=bgr"}, 1e-4),
        ({"inside": True, "overlay": True}, 1e-4),
    ],
)
def test_the_map_is_that_of_python(
    settings: dict[str, Any], tolerance: float, visitor: Visitor, small: Path, tmp_path: Path
) -> None:
    made = bake(SHAPES, tmp_path / "baked.onnx", **settings)
    visitor.drop(made.path, small)
    assert visitor.error is None
    np.testing.assert_array_equal(visitor.rgb, picture())
    how = parse(settings.get("preprocess", "unit") + ",resize=none")
    x = picture()[None] if settings.get("inside") else how(picture())
    expected = in_python(made.path, x, -1 if settings.get("target") == "input" else None)[0]
    assert expected.max() > 0
    assert visitor.heatmap.dtype == expected.dtype
    np.testing.assert_allclose(visitor.heatmap.astype(float), expected.astype(float), atol=tolerance)
    assert visitor.result("class") == (STAR if settings.get("target") == "star" else visitor.result("top")[0])


def test_scores_and_probabilities_are_those_of_python(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    visitor.drop(bake(SHAPES, tmp_path / "baked.onnx", inside=True).path, small)
    explained = Explainer(SHAPES)(small, target="top")
    assert visitor.result("top")[0] == explained.target
    top = visitor.result("probabilities")[visitor.result("top")[0]]
    assert top == pytest.approx(explained.probability, abs=1e-5)
    assert f"{100 * top:.1f} %" in visitor.page.text_content("#classes li:first-child")


SIZES = ((150, 211), (96, 96), (80, 301), (70, 41))


@pytest.mark.parametrize(
    "spelling",
    [
        "resize=96x96",
        "resize=110,crop=96",
        "resize=97,crop=96",
        "letterbox=96",
        "letterbox=96,anchor=corner,fill=30",
        "resize=64,crop=96,interpolation=bicubic",
        "resize=96x96,interpolation=nearest",
        "resize=120,crop=96,interpolation=area",
    ],
)
def test_pictures_are_cut_and_resized_as_python_does(spelling: str, visitor: Visitor, tmp_path: Path) -> None:
    how = parse(f"raw,{spelling}")
    made = bake(SHAPES, tmp_path / "baked.onnx", preprocess=f"unit,{spelling}", inside=True)
    visitor.drop(made.path)
    visitor.page.select_option("#colours", "gray")
    for height, width in SIZES:
        path = tmp_path / f"{height}.png"
        image.write(path, np.tile(image.read(PICTURE), (1, 2, 1))[:height, :width])
        visitor.drop(path)
        expected = how(image.read(path))[0].transpose(1, 2, 0)
        away = np.abs(visitor.rgb.astype(int) - expected.astype(int))
        assert away.max() <= 1
        assert away.mean() < 0.01
        np.testing.assert_allclose(visitor.heatmap, in_python(made.path, visitor.rgb[None])[0], atol=1e-4)
        large = heatmap.enlarge(visitor.heatmap, how.frame(height, width), (height, width))
        levels = np.abs(visitor.drawn[..., 3] - 255 * large)  # of gray, the strength is the value
        assert levels.max() < 8  # OpenCV interpolates in steps of 1/32 pixel
        assert (levels > 2).mean() < 0.02


def test_a_click_explains_another_class(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "baked.onnx", target="input", inside=True)
    visitor.drop(made.path, small)
    own, top = visitor.heatmap, visitor.result("top")[0]
    visitor.choose(STAR)
    np.testing.assert_allclose(visitor.heatmap, in_python(made.path, picture()[None], STAR)[0], atol=1e-4)
    assert np.abs(visitor.heatmap - own).max() > 0.5
    assert visitor.page.get_attribute(f'[data-class="{STAR}"]', "aria-pressed") == "true"
    assert visitor.page.text_content("#status") == "Heat map: star"
    assert visitor.page.evaluate("document.activeElement.dataset.class") == str(STAR)
    visitor.choose(STAR)  # once more: the model's own again
    assert visitor.result("class") == top
    runs = visitor.page.evaluate("onnxcam.runs")
    visitor.page.fill("#other-class", "Square")
    visitor.page.press("#other-class", "Enter")
    visitor.until(f"onnxcam.runs > {runs}")
    assert visitor.result("class") == 1
    visitor.page.fill("#other-class", "rhombus")
    visitor.page.press("#other-class", "Enter")
    visitor.until("onnxcam.error")
    assert visitor.error == "no class is called rhombus; give a name from the list, or a number"


def test_one_class_only_says_why(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    visitor.drop(bake(SHAPES, tmp_path / "baked.onnx", target="star", inside=True).path, small)
    assert visitor.page.is_disabled(f'[data-class="{STAR}"]')
    assert visitor.page.text_content("#hint") == (
        "This file explains star only. For any class you click, bake it with --target input."
    )


def test_colours_and_opacity_are_those_of_python(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    visitor.drop(bake(SHAPES, tmp_path / "baked.onnx", inside=True, uint8=True).path, small)
    heat = visitor.heatmap.astype(np.float32) / 255
    for name in heatmap.COLORMAPS:
        visitor.page.select_option("#colours", name)
        drawn, weight = visitor.drawn.astype(int), colours.weights(name)[colours.levels(heat)]
        assert np.abs(drawn[..., 3] - 255 * weight).max() <= 1
        strong = weight > 0.5  # a canvas holds its colours times their strength, rounded
        assert np.abs(drawn[..., :3] - heatmap.colorize(heat, name))[strong].max() <= 2
    visitor.page.fill("#opacity", "30")
    assert visitor.page.evaluate("getComputedStyle(document.getElementById('heat')).opacity") == "0.3"
    with visitor.page.expect_download() as saved:
        visitor.page.click("#download")
    assert saved.value.suggested_filename == "small-circle.png"
    expected = picture() + 0.3 * heat[..., None] * (heatmap.colorize(heat, "gray") - picture().astype(float))
    assert np.abs(image.read(saved.value.path()).astype(int) - expected.astype(int)).max() <= 2


def _alien(path: Path) -> Path:
    node = onnx.helper.make_node("Nothing", ["picture"], ["heatmap"], domain="com.nobody")
    value = functools.partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.UINT8, shape=[1, 8, 8, 3])
    graph = onnx.helper.make_graph([node], "alien", [value("picture")], [value("heatmap")])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.nobody", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.helper.set_model_props(model, {BAKED: json.dumps({"schema": 1})})
    onnx.save(model, path)
    return path


def _with_stamp(path: Path, stamp: str) -> Path:
    model = onnx.load(SHAPES)
    onnx.helper.set_model_props(model, {BAKED: stamp})
    onnx.save(model, path)
    return path


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: SHAPES, "shapes.onnx is not baked: run onnxcam bake shapes.onnx -o explained.onnx --target input"),
        (
            lambda to: _written(to / "cut.onnx", SHAPES.read_bytes()[:5000]),
            "cut.onnx is not an ONNX model, or is cut off; copy it again",
        ),
        (
            lambda to: _written(to / "poem.onnx", b"Roses are red"),
            "poem.onnx is not an ONNX model, or is cut off; copy it again",
        ),
        (
            lambda to: _with_stamp(to / "old.onnx", "method=gradcam target=top"),
            "old.onnx was baked by another version of onnxcam; bake it again",
        ),
        (
            lambda to: _with_stamp(to / "torn.onnx", '{"schema": 1, "scores": {"name": "logits"}}'),
            "torn.onnx lacks the output 'heatmap' or its scores; bake it again",
        ),
        (
            lambda to: _alien(to / "alien.onnx"),
            "alien.onnx cannot run in a browser: com.nobody:Nothing.* is not a registered .*; see onnxcam inspect .*",
        ),
        (
            lambda to: _written(to / "notes.txt", b"notes"),
            "notes.txt is neither an .onnx file nor an image; drop a baked model, or a PNG, JPEG or WebP file",
        ),
    ],
)
def test_what_it_refuses(make: Any, message: str, visitor: Visitor, tmp_path: Path) -> None:
    visitor.drop(make(tmp_path))
    assert visitor.error is not None
    assert re.fullmatch(message, " ".join(visitor.error.split())), visitor.error
    assert visitor.page.text_content("#status") == "Waiting for a model and an image."
    visitor.page.click("#dismiss")
    assert visitor.error is None


def test_pictures_it_refuses(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    visitor.drop(bake(SHAPES, tmp_path / "baked.onnx", inside=True).path, small)
    before = visitor.heatmap
    visitor.drop(_written(tmp_path / "cut.png", small.read_bytes()[:100]))
    assert visitor.error == "cut.png is no image that this browser can read; give a PNG, JPEG or WebP file"
    drop_large = """([name, type, copies]) => {
      const part = new Blob([new Uint8Array(2 ** 26)]), given = new DataTransfer();
      given.items.add(new File(Array(copies).fill(part), name, { type }));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
    }"""
    visitor.page.evaluate(drop_large, ["large.png", "image/png", 2])
    visitor.until("onnxcam.error?.includes('large')")
    assert visitor.error == "large.png has 128 MB; give an image below 64 MB"
    visitor.page.evaluate(drop_large, ["large.onnx", "", 17])
    visitor.until("onnxcam.error?.includes('large.onnx')")
    assert visitor.error == "large.onnx has 1088 MB; a browser holds models up to 1024 MB"
    visitor.drop(small)  # the model is still there
    np.testing.assert_array_equal(visitor.heatmap, before)


def test_a_function_as_preprocessing_cannot_be_shown(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "own.onnx", preprocess=lambda rgb: rgb.transpose(2, 0, 1) / 255)
    visitor.drop(made.path, small)
    assert visitor.error == "own.onnx does not say how an image becomes its tensor; bake it again with --preprocess"


PASTE = """([name, base64]) => {
  const given = new DataTransfer();
  const data = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  given.items.add(new File([data], name, { type: "image/png" }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: given, bubbles: true, cancelable: true }));
}"""


def test_files_may_be_chosen_and_pictures_pasted(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "baked.onnx", inside=True)
    expected = in_python(made.path, picture()[None])[0]
    for button, path in (("#open-model", made.path), ("#open-picture", small)):
        with visitor.page.expect_file_chooser() as chooser:
            visitor.page.click(button)
        chooser.value.set_files(path)
    visitor.until("onnxcam.runs === 1")
    assert visitor.result("name") == "small.png"
    np.testing.assert_allclose(visitor.heatmap, expected, atol=1e-4)
    other = tmp_path / "other.png"
    image.write(other, picture()[:, ::-1])
    visitor.page.evaluate(PASTE, ["pasted.png", base64.b64encode(other.read_bytes()).decode()])
    visitor.until("onnxcam.runs === 2")
    assert visitor.result("name") == "pasted.png"
    np.testing.assert_array_equal(visitor.rgb, picture()[:, ::-1])
    with visitor.page.expect_file_chooser() as chooser:  # the same file once more: the choosers forget
        visitor.page.click("#open-picture")
    chooser.value.set_files(small)
    visitor.until("onnxcam.runs === 3")
    np.testing.assert_allclose(visitor.heatmap, expected, atol=1e-4)
    assert visitor.error is None


def test_the_example_and_the_camera(visitor: Visitor) -> None:
    visitor.page.click("#example")
    visitor.until("onnxcam.runs > 0")
    assert visitor.result("name") == "example.png"
    visitor.page.click("#camera")
    visitor.until("onnxcam.runs > 4")
    assert visitor.result("name") == "the camera"
    visitor.page.click("#camera")
    assert visitor.error is None


def test_a_phone_shows_it_all(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    visitor.page.set_viewport_size({"width": 390, "height": 844})
    visitor.drop(
        bake(SHAPES, tmp_path / "a-model-with-a-rather-long-file-name-indeed.onnx", target="input").path, small
    )
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    sizes = visitor.page.evaluate(
        "[...document.querySelectorAll('button')].map((b) => b.getBoundingClientRect().height)"
    )
    assert all(height >= 44 for height in sizes if height)
    assert visitor.page.locator("#shown").bounding_box()["width"] > 300


def test_everything_has_a_name_and_the_keyboard_reaches_it(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    visitor.drop(bake(SHAPES, tmp_path / "baked.onnx", target="input", inside=True).path, small)
    reached = []
    for _ in range(14):
        visitor.page.keyboard.press("Tab")
        reached.append(visitor.page.evaluate("document.activeElement.id || document.activeElement.dataset.class"))
    assert reached[:6] == ["open-model", "open-picture", "camera", "download", "opacity", "colours"]
    assert {"0", "1", "other-class"} & set(reached) >= {"0", "other-class"}
    for role, name in (("img", "small.png. Heat map: circle"), ("slider", "Opacity of the heat map")):
        assert visitor.page.get_by_role(role, name=name, exact=True).count() == 1


def test_any_static_server_will_do(page: Any, site: Path, small: Path, tmp_path: Path) -> None:
    class Plain(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Plain, directory=str(site))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        visitor = Visitor(page, f"http://localhost:{running.server_port}/")
        made = bake(SHAPES, tmp_path / "baked.onnx", inside=True)
        visitor.drop(made.path, small)
        assert visitor.page.evaluate("[crossOriginIsolated, onnxcam.facts.threads]") == [False, 1]
        np.testing.assert_allclose(visitor.heatmap, in_python(made.path, picture()[None])[0], atol=1e-4)
        running.shutdown()
        thread.join()
