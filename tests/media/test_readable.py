"""Small pictures become readable, pixel by pixel, and OpenCV draws the text that it is given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.media import image, readable
from tests.bake.baked import SHAPES


@pytest.mark.parametrize(("size", "times"), [((32, 32), 7), ((96, 40), 3), ((224, 10), 1), ((640, 480), 1)])
def test_the_longer_side_has_224_pixels_or_more(size: tuple[int, int], times: int) -> None:
    assert readable.factor(size) == times


def test_the_overlay_of_a_small_image_is_enlarged_and_its_map_is_not(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (32, 30, 3), np.uint8)
    found = Explainer(SHAPES, "gradient")(photo, "star")
    paths = found.save(tmp_path, boxes=True)
    drawn = image.read(paths["overlay"])
    assert drawn.shape == (7 * 32, 7 * 30, 3)
    assert np.load(paths["map"]).shape == found.overlay().shape[:2] == (32, 30)
    np.testing.assert_array_equal(found.overlay(opacity=0, times=2)[::2, 1::2], photo)


def test_text_that_opencv_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "FontFace", SimpleNamespace, raising=False)
    assert readable.drawable("Größe 猫") == "Größe 猫"
    monkeypatch.delattr(cv2, "FontFace")  # version 4
    assert readable.drawable("Größe 猫") == "Gr??e ?"
    shown = readable.shortened("a long word", 60, cv2.FONT_HERSHEY_DUPLEX, 0.6, 1)
    assert shown.startswith("a l")
    assert shown.endswith("...")
    assert cv2.getTextSize(shown, cv2.FONT_HERSHEY_DUPLEX, 0.6, 1)[0][0] <= 60
