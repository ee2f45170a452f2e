"""Several models in one page, one beside another, several images on a sheet, and the page without its server."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.bake.bake import bake
from onnxcam.errors import ModelError, RuntimeFilesError
from onnxcam.media import image
from onnxcam.web.server import server
from onnxcam.web.site import build
from onnxcam.web.themes import Theme
from tests.bake.baked import SHAPES, in_python, picture
from tests.web.visitor import Visitor

STAR = 3


@pytest.fixture
def visitor(page: Any, served: str) -> Visitor:
    return Visitor(page, served)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two baked models of different methods, and three images, the last one broken."""
    folder = tmp_path_factory.mktemp("several")
    for name, method in (("one", "gradcam"), ("two", "layercam")):
        bake(SHAPES, folder / f"{name}.onnx", target="input", inside=True, method=method)
    image.write(folder / "a.png", picture())
    image.write(folder / "b.png", picture()[:, ::-1])
    (folder / "c.png").write_bytes(b"no image")
    return [folder / name for name in ("one.onnx", "two.onnx", "a.png", "b.png", "c.png")]


def _options(visitor: Visitor, select: str) -> list[str]:
    return visitor.page.locator(f"{select} option").all_text_contents()


def test_a_picker_keeps_image_and_class(visitor: Visitor, files: list[Path]) -> None:
    visitor.drop(files[0], files[1], files[2])
    assert visitor.error is None
    assert visitor.page.evaluate("onnxcam.facts.name") == "one.onnx"
    visitor.choose(STAR)
    runs = visitor.page.evaluate("onnxcam.runs")
    visitor.page.focus("#model-pick")
    visitor.page.keyboard.press("ArrowDown")
    visitor.until(f"onnxcam.runs > {runs}")
    assert visitor.result("class") == STAR
    np.testing.assert_allclose(visitor.heatmap, in_python(files[1], picture()[None], STAR)[0], atol=1e-4)
    one, two = _options(visitor, "#model-pick")
    assert one.startswith("one.onnx: gradcam at ")
    assert two.startswith("two.onnx: layercam at ")


def test_a_model_beside(visitor: Visitor, files: list[Path]) -> None:
    visitor.drop(files[0], files[1], files[2])
    visitor.page.select_option("#beside-pick", label="two.onnx")
    visitor.until("onnxcam.beside?.result")
    visitor.choose(STAR)
    visitor.until(f"onnxcam.beside.result?.class === {STAR}")
    found = np.array(visitor.page.evaluate("Array.from(onnxcam.beside.result.heatmap.data)")).reshape(96, 96)
    expected = [in_python(path, picture()[None], STAR)[0] for path in files[:2]]
    np.testing.assert_allclose(visitor.heatmap, expected[0], atol=1e-4)
    np.testing.assert_allclose(found, expected[1], atol=1e-4)
    alike = np.corrcoef(expected[0].ravel(), expected[1].ravel())[0, 1]
    assert visitor.page.evaluate("onnxcam.beside.correlation") == pytest.approx(alike, abs=0.01)
    assert f"correlation of the maps {alike:.2f}" in visitor.page.text_content("#status")
    assert visitor.page.text_content("#beside-caption").startswith("two.onnx: layercam at ")
    with visitor.page.expect_download() as saved:
        visitor.page.click("#download")
    assert saved.value.suggested_filename == "a-beside.png"
    visitor.page.select_option("#beside-pick", label="nothing")
    visitor.until("document.getElementById('beside').hidden")
    assert visitor.error is None


def test_a_sheet_of_images(visitor: Visitor, files: list[Path]) -> None:
    visitor.drop(files[0], *files[2:])
    visitor.until("document.querySelectorAll('#sheet li').length === 3 && onnxcam.runs === 2")
    visitor.until("document.getElementById('status').textContent.startsWith('3 images')")
    said = visitor.page.text_content("#status")
    assert said == "3 images are explained; 1 of them cannot be shown, the sheet says why."
    names = visitor.page.locator("#sheet li span:nth-of-type(1)").all_text_contents()
    assert names == ["a.png", "b.png", "c.png"]
    assert "c.png is no image that this browser can read" in visitor.page.text_content("#sheet li:last-child")
    with visitor.page.expect_download() as saved:
        visitor.page.click("#sheet-save")
    assert visitor.page.evaluate("onnxcam.result.name") == "b.png"
    assert image.read(saved.value.path()).shape == (2 * 380 + 20, 2 * 340 + 20, 3)
    visitor.page.click("#sheet li:first-child button")
    visitor.until("onnxcam.runs === 3")
    np.testing.assert_array_equal(visitor.rgb, picture())
    assert visitor.page.locator("#sheet li").count() == 3


def test_a_site_of_two_models_and_a_theme_without_a_network(
    browser: Any, npm: Path, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "acme.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>')
    (tmp_path / "acme.css").write_text(":root { --accent: rgb(1, 2, 3); }")
    theme = Theme("Acme <b>", tmp_path / "acme.svg", tmp_path / "acme.css")
    folder = build(tmp_path / "site", model=files[:2], runtime=npm / "onnxruntime-web", theme=theme)
    build(folder, model=files[:2], runtime=npm / "onnxruntime-web")  # once more: the theme stays
    assert json.loads((folder / "manifest.webmanifest").read_text())["name"] == "Acme <b>"
    context = browser.new_context()
    page = context.new_page()
    with server(folder) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        url = f"http://localhost:{running.server_port}/"
        visitor = Visitor(page, url)
        assert [each.split(" at ")[0] for each in _options(visitor, "#model-pick")] == [
            "one.onnx: gradcam",
            "two.onnx: layercam",
        ]
        page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
        running.shutdown()
        thread.join()
    visitor = Visitor(page, url)  # nobody answers there any more
    visitor.drop(files[2])
    assert visitor.error is None
    np.testing.assert_allclose(visitor.heatmap, in_python(files[0], picture()[None], -1)[0], atol=1e-4)
    assert page.title() == page.text_content("#title") == "Acme <b>"
    assert page.evaluate("getComputedStyle(document.body).getPropertyValue('--accent')") == "rgb(1, 2, 3)"
    assert page.evaluate("document.getElementById('logo').naturalWidth > 0")
    context.close()


def test_scripts_open_and_explain(page: Any, served: str, files: list[Path]) -> None:
    visitor = Visitor(page, f"{served}?embed")
    assert not page.is_visible("header")
    page.evaluate("onnxcam.open('example.onnx')")
    found = page.evaluate("onnxcam.explain('example.png', { class: 'star' }).then((result) => result.class)")
    assert found == STAR
    assert page.text_content("#status") == "Heat map: star"
    message = page.evaluate("onnxcam.explain('example.png', { class: 'bus' }).catch((error) => error.message)")
    assert message == "no class is called bus"
    assert visitor.error is None


def test_what_cannot_be_a_theme_or_a_picker(files: list[Path], tmp_path: Path) -> None:
    for theme, message in (
        (Theme(logo=tmp_path / "logo.exe"), r"logo.exe: a logo is one of .svg, .png, .webp, .jpg; convert it"),
        (Theme(style=tmp_path / "no.css"), r"no.css: no such file; name a small file for the page's theme"),
    ):
        with pytest.raises(RuntimeFilesError, match=message):
            theme.contents()
    with pytest.raises(ModelError, match=r"two models are called one\.onnx"):
        build(tmp_path / "site", model=[files[0], files[0]])
