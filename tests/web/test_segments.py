"""The page with a segmentation: a click on the image shows the map of the class there; and with other tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.bake.bake import bake
from onnxcam.media import image
from tests.bake.tasks import MODELS, run, shapes
from tests.web.visitor import Visitor

SIZE = 64


@pytest.fixture
def visitor(page: Any, served: str) -> Visitor:
    return Visitor(page, served)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    image.write(tmp_path / "small.png", shapes())
    return tmp_path / "small.png"


def test_a_click_shows_the_class_there(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    made = bake(MODELS / "segmenter.onnx", tmp_path / "b.onnx", target="input", inside=True)
    visitor.drop(made.path, small)
    assert visitor.error is None
    none = {"picture": shapes()[None], "onnxcam.class": np.int64([-1]), "onnxcam.point": np.float32([[-1, -1]])}
    first = run(made.path, none)
    assert visitor.result("class") == first["onnxcam.class.chosen"][0]
    np.testing.assert_allclose(visitor.heatmap, first["heatmap"][0], atol=1e-4)
    np.testing.assert_allclose(visitor.result("probabilities")[0], first["onnxcam.class.shares"][0, 0], atol=1e-6)
    seen = first["logits"][0].argmax(axis=0)
    other = next(c for c in np.unique(seen) if c not in (0, first["onnxcam.class.chosen"][0]))
    y, x = np.argwhere(seen == other)[0]
    box = visitor.page.locator("#picture").bounding_box()
    scale = min(box["width"], box["height"]) / SIZE  # the image is drawn in the middle
    left, top = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visitor.page.mouse.click(left + (x + 0.5 - SIZE / 2) * scale, top + (y + 0.5 - SIZE / 2) * scale)
    visitor.until("onnxcam.runs === 2")
    assert visitor.result("class") == other
    there = run(made.path, {**none, "onnxcam.point": np.float32([[x + 0.5, y + 0.5]])})
    np.testing.assert_allclose(visitor.heatmap, there["heatmap"][0], atol=1e-4)


def test_other_tasks_show_what_the_model_finds(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    made = bake(MODELS / "embedder.onnx", tmp_path / "b.onnx", inside=True)
    visitor.drop(made.path, small)
    assert visitor.error is None
    np.testing.assert_allclose(visitor.heatmap, run(made.path, {"picture": shapes()[None]})["heatmap"][0], atol=1e-4)
    assert visitor.page.text_content("#status") == "Heat map"


def test_what_the_page_cannot_give_or_show_is_refused(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    made = bake(MODELS / "embedder.onnx", tmp_path / "b.onnx", target="input", inside=True)
    visitor.drop(made.path, small)
    assert "asks for onnxcam.reference, which this page cannot give or show; bake it with --target top" in visitor.error
