"""The page by keyboard alone, and its tree for a screen reader, which axe-core checks in each state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxcam.bake.bake import bake
from onnxcam.media import image
from tests.bake.baked import SHAPES, picture
from tests.web.visitor import Visitor

AXE = "node_modules/axe-core/axe.min.js"
FAULTS = """async () => (await axe.run()).violations.map(
  ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`)"""


@pytest.fixture
def visitor(page: Any, served: str) -> Visitor:
    return Visitor(page, served)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A baked model that takes any class, and an image of its size."""
    image.write(tmp_path / "small.png", picture())
    return [bake(SHAPES, tmp_path / "baked.onnx", target="input", inside=True).path, tmp_path / "small.png"]


def _typed(visitor: Visitor, words: str, key: str) -> None:
    visitor.page.focus("#other-class")
    visitor.page.keyboard.type(words)
    visitor.page.keyboard.press(key)
    visitor.page.wait_for_timeout(100)


@pytest.mark.parametrize("key", ["Enter", "Tab"])
def test_a_class_that_is_typed_leaves_no_error(key: str, visitor: Visitor, files: list[Path]) -> None:
    visitor.drop(*files)
    for words, index in (("Square", 1), ("3", 3), ("", 3), ("star", 3)):
        _typed(visitor, words, key)
        visitor.until(f"onnxcam.result.class === {index}")
        assert visitor.error is None
        assert visitor.page.input_value("#other-class") == ""
    _typed(visitor, "rhom", "Tab")
    assert visitor.error is None  # nobody asked yet
    _typed(visitor, "bus", "Enter")
    assert visitor.error == "no class is called rhombus; give a name from the list, or a number"
    visitor.page.fill("#other-class", "")
    _typed(visitor, "star", "Enter")  # the class that is shown
    assert visitor.error is None


def test_axe_finds_no_fault(visitor: Visitor, files: list[Path]) -> None:
    path = Path(__file__).parent / AXE
    if not path.is_file():
        pytest.skip("no axe-core: npm install --prefix tests/web --ignore-scripts")
    visitor.page.evaluate(path.read_text("utf-8"))
    for scheme in ("light", "dark"):
        visitor.page.emulate_media(color_scheme=scheme)
        assert visitor.page.evaluate(FAULTS) == []
    other = bake(SHAPES, files[0].with_name("other.onnx"), inside=True).path
    visitor.drop(files[0], other, files[1], files[1])
    visitor.until("document.querySelectorAll('#sheet li').length === 2")
    visitor.page.select_option("#beside-pick", label="other.onnx")
    visitor.until("onnxcam.beside?.result")
    _typed(visitor, "rhombus", "Enter")  # with the error
    for scheme, width in (("light", 1280), ("dark", 390)):
        visitor.page.emulate_media(color_scheme=scheme)
        visitor.page.set_viewport_size({"width": width, "height": 844})
        assert visitor.page.evaluate(FAULTS) == []
