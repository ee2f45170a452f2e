"""The page shows a detector: its boxes, and the map of the one that is clicked."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxcam
from onnxcam.bake.bake import bake
from onnxcam.media import image
from tests.bake.tasks import MODELS, run, shapes
from tests.web.visitor import Visitor

BOXES = Path(onnxcam.__file__).parent / "web" / "page" / "boxes.js"


def in_node(words: str) -> Any:
    """Return the value of *words*, JavaScript that sees what boxes.js exports."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js: apt-get install nodejs")
    source = BOXES.read_text("utf-8").replace("export function", "function")
    ran = subprocess.run(
        [node, "-e", f"{source}; console.log(JSON.stringify({words}))"], capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


def test_boxes_come_to_the_pixels_of_the_picture() -> None:
    given = "{ boxes: [0, 0, 10, 20, 30, 30, 40, 40, 0, 0, 0, 0], scores: [0.9, 0.5, 0], classes: [2n, 1n, -1n] }"
    found = in_node(f"detectionsOf({given}, [40, 40], {{ x0: 10, y0: 0, x1: 90, y1: 160 }})")
    assert [(one["rank"], one["class"], one["score"]) for one in found] == [(0, 2, 0.9), (1, 1, 0.5)]
    assert [one["box"] for one in found] == [[10, 0, 30, 80], [70, 120, 90, 160]]


def test_the_smallest_box_around_a_point_is_clicked() -> None:
    boxes = "[{ rank: 0, box: [0, 0, 50, 50] }, { rank: 1, box: [10, 10, 20, 20] }]"
    assert [in_node(f"rankAt({boxes}, {x}, {x})") for x in (15, 40, 60)] == [1, 0, None]


def test_a_map_is_one_of_several() -> None:
    found = in_node("mapOf({ data: [0, 1, 2, 3, 4, 5, 6, 7], dims: [1, 2, 2, 2] }, 1)")
    assert found == {"data": [4, 5, 6, 7], "dims": [2, 2]}


def test_a_point_of_the_element_is_one_of_the_picture() -> None:
    assert in_node("pointIn({ width: 10, height: 10 }, { width: 300, height: 100 }, 150, 50)") == [5, 5]
    assert in_node("pointIn({ width: 10, height: 10 }, { width: 300, height: 100 }, 100, 0)") == [0, 0]


@pytest.fixture
def visitor(page: Any, served: str) -> Visitor:
    return Visitor(page, served)


@pytest.mark.parametrize("threshold", [None, "input"])
def test_a_click_on_a_box_shows_its_map(threshold: str | None, visitor: Visitor, tmp_path: Path) -> None:
    made = bake(MODELS / "detector.onnx", tmp_path / "b.onnx", count=4, inside=True, threshold=threshold)
    picture = shapes()
    image.write(tmp_path / "p.png", picture)
    feeds = {"picture": picture[None]} | ({} if threshold is None else {"onnxcam.threshold": np.float32([0.25])})
    wanted = run(made.path, feeds)
    count = int((wanted["onnxcam.scores"] > 0).sum())
    visitor.drop(made.path, tmp_path / "p.png")
    assert visitor.error is None
    found = visitor.page.evaluate("onnxcam.result.detections")
    assert [one["class"] for one in found] == wanted["onnxcam.classes"][0, :count].tolist()
    np.testing.assert_allclose([one["box"] for one in found], wanted["onnxcam.boxes"][0, :count], atol=1e-2)
    np.testing.assert_allclose(visitor.heatmap, wanted["heatmap"][0, 0], atol=1e-4)
    assert visitor.page.is_visible("#boxes")
    for rank in range(1, count):
        visitor.choose(rank)
        np.testing.assert_allclose(visitor.heatmap, wanted["heatmap"][0, rank], atol=1e-4)
    last = visitor.page.evaluate("onnxcam.result.class")
    _click(visitor, found[0]["box"], picture.shape[:2])
    if count > 1:
        visitor.until(f"onnxcam.result.class !== {last}")
        np.testing.assert_allclose(visitor.heatmap, wanted["heatmap"][0, 0], atol=1e-4)


def _click(visitor: Visitor, box: list[float], size: tuple[int, ...]) -> None:
    """Click the middle of *box*, in pixels of the picture of *size*."""
    area = visitor.page.locator("#shown").bounding_box()
    scale = min(area["width"] / size[1], area["height"] / size[0])
    x = area["x"] + (area["width"] - size[1] * scale) / 2 + (box[0] + box[2]) / 2 * scale
    y = area["y"] + (area["height"] - size[0] * scale) / 2 + (box[1] + box[3]) / 2 * scale
    visitor.page.mouse.click(x, y)


def test_nothing_is_detected(visitor: Visitor, tmp_path: Path) -> None:
    made = bake(MODELS / "detector.onnx", tmp_path / "b.onnx", count=2, inside=True, threshold=1.0)
    image.write(tmp_path / "p.png", shapes())
    visitor.drop(made.path, tmp_path / "p.png")
    assert visitor.error is None
    assert visitor.page.text_content("#status") == "Nothing is detected in this image."
