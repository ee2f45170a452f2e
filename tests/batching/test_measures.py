"""What rows measure, on maps computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcam.batching.measures import look_of, measures
from onnxcam.explainer.explanation import Explanation


def explained(heat: np.ndarray, **changes: Any) -> Explanation:
    """Return an explanation with the map *heat* of a picture of its size."""
    heat = heat.astype(np.float32)
    picture = np.zeros((*heat.shape, 3), np.uint8)
    return Explanation(picture, heat, heat, 0, "a", "a", 1.0, 0.5, "l", "m", {}, map_at=lambda size: heat, **changes)


def test_one_cell_of_a_picture() -> None:
    heat = np.zeros((20, 40))
    heat[4:6, 30:34] = 2
    truth = np.zeros((20, 40), bool)
    truth[:, 32:] = True
    found = measures(explained(heat), truth)
    assert found["map_x"] == pytest.approx(32 / 40)
    assert found["map_y"] == pytest.approx(5 / 20)
    assert found["map_area"] == 8 / 800
    assert (found["map_border"], found["map_corners"]) == (0, 0)
    assert (found["map_truth"], found["truth_area"]) == (pytest.approx(0.5), pytest.approx(0.2))
    assert found["box"] == [30, 4, 34, 6]
    assert (found["map_min"], found["map_max"]) == (0, 2)


def test_an_even_map_covers_border_and_corners_by_their_areas() -> None:
    found = measures(explained(np.ones((50, 30))), None)
    assert found["map_border"] == pytest.approx(1 - 0.8**2)
    assert found["map_corners"] == pytest.approx(0.4**2)
    assert found["map_area"] == 1
    assert np.frombuffer(found["heat"], np.uint8).tolist() == [255] * 256
    assert "map_truth" not in found


def test_a_zero_map_has_no_place() -> None:
    found = measures(explained(np.zeros((10, 10))), np.ones((10, 10), bool))
    assert found == {"map_min": 0, "map_max": 0, "heat": bytes(256), "truth_area": 1}


def test_an_input_that_is_no_image_has_the_range_alone() -> None:
    heat = np.array([0.0, 3.0], np.float32)
    picture = np.zeros((1, 2, 3), np.uint8)
    one = Explanation(picture, heat, heat, 0, "a", "a", 1.0, None, None, "m", {}, parts=("x", "y"))
    assert measures(one, None) == {"map_min": 0, "map_max": 3}


def test_near_duplicates_share_their_hash() -> None:
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (12, 16, 3)), np.ones((40, 40, 1))).astype(np.uint8)
    brighter = np.clip(picture.astype(int) + 9, 0, 255).astype(np.uint8)
    one, same, other = (look_of(x)["dhash"] for x in (picture, brighter[::2, ::2], picture[:, ::-1]))
    assert (one ^ same).bit_count() <= 3
    assert (one ^ other).bit_count() > 10
    found = look_of(picture)
    assert (found["height"], found["width"], len(found["thumbnail"])) == (480, 640, 768)
    mean = picture.reshape(16, 30, 16, 40, 3).mean((1, 3))
    assert np.abs(np.frombuffer(found["thumbnail"], np.uint8).reshape(16, 16, 3) - mean).max() < 25
