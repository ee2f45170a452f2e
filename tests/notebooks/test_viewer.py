"""The viewer: what it sends to the browser, what the browser draws of it, and what a click does."""

from __future__ import annotations

import base64
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import onnxcam.notebook
from onnxcam import Explainer, Explanation
from onnxcam.errors import OnnxcamError, OutputError, TargetError
from onnxcam.media import heatmap
from onnxcam.media.signal import Signal
from onnxcam.notebook import viewer
from onnxcam.notebook.viewer import _widget
from onnxcam.notebook.views import BrowserView, ExplanationViews, view_of
from tests.batching.pictures import ASSETS, SHAPES
from tests.notebooks.test_shown import decoded

PICTURE = str(ASSETS / "shapes_1.png")
DETECTOR = Path(__file__).parents[2] / "models" / "detector.onnx"


@pytest.fixture(scope="module")
def views() -> ExplanationViews:
    return ExplanationViews(Explainer(SHAPES), PICTURE)


def blended(view: BrowserView, opacity: float = 1.0) -> np.ndarray:
    """What the browser draws of *view*, RGB, in floats."""
    photo, heat = decoded(view.photo)[..., ::-1], decoded(view.heat)[..., 0]
    colour = view.palette[heat].astype(float)
    return photo + opacity * colour[..., 3:] / 255 * (colour[..., :3] - photo)


@pytest.mark.parametrize("method", ["gradcam", "integrated-gradients", "lrp"])
@pytest.mark.parametrize("signed", [False, True])
def test_the_view_is_the_overlay(method: str, signed: bool) -> None:
    found = Explainer(SHAPES, method=method, signed=signed)(PICTURE)
    overlay = found.overlay(times=decoded(view_of(found).photo).shape[0] // found.map.shape[0] or 1)
    assert np.abs(blended(view_of(found)) - overlay).max() <= 4  # 256 levels


def test_the_part_that_the_network_sees_has_its_frame(views: ExplanationViews) -> None:
    found = views.first(PICTURE)
    part = replace(found, seen=(40.0, 40.0, 200.0, 200.0))
    blank = heatmap.overlay(found.image, np.zeros_like(found.map), seen=part.seen)
    np.testing.assert_array_equal(decoded(view_of(part).photo)[..., ::-1], blank)


def test_what_is_no_image_is_drawn_whole(views: ExplanationViews) -> None:
    line = np.linspace(0, 1, 50, dtype=np.float32)
    signal = replace(views.first(PICTURE), signal=Signal(line[None]), image=line[None], map=line)
    view = view_of(signal)
    np.testing.assert_array_equal(decoded(view.photo)[..., ::-1], signal.overlay())
    assert not decoded(view.heat).any()


def test_the_choices_are_those_of_the_model(views: ExplanationViews) -> None:
    assert [words for _, words in views.targets][:2] == ["circle", "cross"]
    assert len(views.targets) == 5
    assert views.layers[0] == "auto"
    assert "layer5.2" in views.layers
    assert "gradcam" in views.methods
    assert not {"rise", "rollout"} & set(views.methods)  # of many passes; for transformers
    assert [view.said[0][1] for view in (views.view("star", "auto", "gradcam"),)] == [views.targets[2][0]]
    assert views.view("", "layer3.2", "gradcam").said[-1] == ("layer", "layer3.2")
    assert views.view("", "layer3.2", "gradient").said[-1] == ("method", "gradient")
    with pytest.raises(TargetError, match="no class is named 'nope'"):
        views.view("nope", "auto", "gradcam")


def test_of_a_detector_the_objects_are_chosen() -> None:
    found = ExplanationViews(Explainer(DETECTOR), PICTURE)
    label, words = found.targets[1]
    assert label.startswith("ring")
    assert found.view(words, "auto", found.first.method).said[0][1] == label


def test_without_anywidget_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    _widget.cache_clear()
    with pytest.raises(OutputError, match=r"pip install 'onnxcam\[notebook\]'"):
        viewer(Explainer(SHAPES), PICTURE)
    with pytest.raises(OutputError, match="the opacity is 2; give a number from 0 to 1"):
        viewer(Explainer(SHAPES), PICTURE, opacity=2)


def test_the_widget_explains_what_is_chosen_and_an_error_is_a_line() -> None:
    pytest.importorskip("anywidget", reason="extra notebook")
    _widget.cache_clear()
    widget = viewer(Explainer(SHAPES), PICTURE)
    before = widget.heat
    widget.target = "star"
    assert widget.said[0][1].startswith("star")
    assert widget.heat != before
    kept = widget.heat
    widget.target = "<b>nope</b>"
    assert "no class is named '<b>nope</b>'" in widget.error
    assert "\n" not in widget.error
    assert widget.heat == kept
    widget.target = "cross"
    assert widget.error == ""
    widget.method = "lrp"
    assert dict(widget.said)["method"] == "lrp"


HOST = """async ([script, start]) => {
  const { default: widget } = await import("data:text/javascript;base64," + script);
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
  const state = {}, heard = [];
  const put = (traits) => {
    for (const [name, value] of Object.entries(traits))
      state[name] = ["photo", "heat", "palette"].includes(name) ? bytes(value) : value;
    for (const [name, call] of heard) if (name.slice(7) in traits) call();
  };
  put(start);
  const model = {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; model.changed = name; },
    save_changes: async () => { const name = model.changed; put({ [name]: state[name] });
      put(await chosen(state.target, state.layer, state.method)); document.body.dataset.turns++; },
    on: (name, call) => heard.push([name, call]),
  };
  document.body.dataset.turns = 0;
  const el = document.createElement("div");
  document.body.append(el);
  await widget.render({ model, el });
}"""
CANVAS = """() => { const one = document.querySelector(".onnxcam canvas");
  return [one.height, one.width, one.toDataURL("image/png").split(",")[1]]; }"""


def traits(view: BrowserView) -> dict[str, Any]:
    packed = {"photo": view.photo, "heat": view.heat, "palette": view.palette.tobytes()}
    text = {name: base64.b64encode(content).decode() for name, content in packed.items()}
    return {**text, "bar": view.bar, "said": view.said, "warnings": view.warnings, "error": ""}


def hosted(page: Any, views: ExplanationViews) -> None:
    """Put the viewer's script into *page*, where a model of the widget asks *views*."""

    def chosen(target: str, layer: str, method: str) -> dict[str, Any]:
        try:
            return traits(views.view(target, layer, method))
        except OnnxcamError as error:
            return {"error": str(error)}

    page.expose_function("chosen", chosen)
    script, style = ((files(onnxcam.notebook) / f"viewer.{kind}").read_bytes() for kind in ("js", "css"))
    page.set_content(f"<style>{style.decode()}</style>")
    first = {"target": "", "layer": "auto", "method": views.first.method, "opacity": 1.0}
    listed = {"targets": views.targets, "layers": views.layers, "methods": views.methods}
    start = {**first, **listed, **traits(views.view("", "auto", views.first.method))}
    page.evaluate(HOST, [base64.b64encode(script).decode(), start])


def drawn(page: Any) -> np.ndarray:
    _, _, png = page.evaluate(CANVAS)
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_COLOR))[..., ::-1]


def turned(page: Any, turn: int) -> None:
    page.wait_for_function(f"document.body.dataset.turns >= {turn}")


def test_a_browser_draws_the_overlay_and_clicks_choose(page: Any, views: ExplanationViews) -> None:
    hosted(page, views)
    first = views.view("", "auto", "gradcam")
    assert np.abs(drawn(page) - blended(first)).max() <= 1
    assert "circle" in page.get_by_role("img").get_attribute("aria-label")
    page.get_by_role("button", name="star").click()
    turned(page, 1)
    star = views.view("star", "auto", "gradcam")
    page.wait_for_function("document.querySelector('.onnxcam canvas').ariaLabel.includes('star')")
    assert np.abs(drawn(page) - blended(star)).max() <= 1
    assert page.locator("button[aria-pressed=true]").inner_text().startswith("star")
    page.get_by_role("combobox", name="method").select_option("layercam")
    turned(page, 2)
    page.get_by_role("combobox", name="layer").select_option("layer3.2")
    turned(page, 3)
    assert "layer3.2" in page.locator("dl").inner_text()
    page.get_by_role("slider", name="opacity").fill("0")
    turned(page, 4)
    assert np.abs(drawn(page) - decoded(star.photo)[..., ::-1]).max() <= 1  # the picture itself
    page.get_by_role("textbox", name="class or target").fill("<img src=x>")
    page.get_by_role("textbox", name="class or target").press("Enter")
    turned(page, 5)
    assert "<img src=x>" in page.get_by_role("alert").inner_text()
    assert page.locator(".onnxcam img").count() == 0


def test_an_explanation_of_pixels_is_on_paper(views: ExplanationViews) -> None:
    found: Explanation = views.first.replace(method="gradient")(PICTURE)
    photo = decoded(view_of(found).photo)
    assert (photo[..., 0] == photo[..., 1]).all()
    assert photo.min() > 170
