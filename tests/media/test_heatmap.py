"""From the raw map to what a person sees."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from onnxcam.media import heatmap
from onnxcam.media.frame import Frame
from onnxcam.preprocess import parse


def test_normalize_keeps_positive_evidence_and_scales_it() -> None:
    np.testing.assert_allclose(heatmap.normalize(np.array([[-2.0, 1], [4, 0]], np.float32)), [[0, 0.25], [1, 0]])
    assert not heatmap.normalize(np.full((2, 2), -1, np.float32)).any()


def test_enlarging_is_opencvs_bilinear_resize_where_the_tensor_is_the_picture() -> None:
    raw = np.random.default_rng(0).random((7, 7), np.float32)
    expected = cv2.resize(raw, (90, 60), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(heatmap.enlarge(raw, Frame(0, 0, 90, 60), (60, 90)), expected, atol=0.03)


def test_the_map_of_a_centre_crop_lies_in_the_centre() -> None:
    preprocess = parse("resize=20,crop=10x10")
    frame = preprocess.frame(40, 80)  # halved, then the middle 10 × 10: 20 × 20 pixels of the image
    heat = heatmap.enlarge(np.ones((5, 5), np.float32), frame, (40, 80))
    ys, xs = np.nonzero(heat)
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == (30, 50, 10, 30)


def test_a_peak_comes_back_to_where_it_was() -> None:
    raw = np.zeros((8, 8), np.float32)
    raw[2, 5] = 1
    heat = heatmap.enlarge(raw, Frame(0, 0, 64, 64), (64, 64))
    x, y = heatmap.peak(heat)
    assert 40 <= x < 48
    assert 16 <= y < 24


def test_the_box_is_around_the_largest_part() -> None:
    heat = np.zeros((20, 30), np.float32)
    heat[3:9, 4:14] = 0.5
    heat[15:17, 20:22] = 1
    assert heatmap.box(heat) == (4, 3, 14, 9)
    assert heatmap.box(heat, threshold=0.6) == (20, 15, 22, 17)
    assert heatmap.box(np.zeros((3, 3), np.float32)) is None


@pytest.mark.parametrize("colormap", heatmap.COLORMAPS)
def test_colours(colormap: str) -> None:
    colours = heatmap.colorize(np.array([[0, 0.5, 1]], np.float32), colormap)
    assert colours.shape == (1, 3, 3)
    assert colours.dtype == np.uint8


def test_jet_is_red_where_it_is_hot_and_blue_where_it_is_cold() -> None:
    cold, hot = heatmap.colorize(np.array([[0, 1]], np.float32), "jet")[0].astype(int)
    assert hot[0] > 100 > hot[2]
    assert cold[2] > 100 > cold[0]


def test_an_unknown_colormap() -> None:
    with pytest.raises(heatmap.OutputError, match=r"no colormap is called 'jut'.*Did you mean 'jet'"):
        heatmap.colorize(np.zeros((1, 1), np.float32), "jut")


def test_the_overlay_mixes() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    np.testing.assert_array_equal(heatmap.overlay(image, np.ones((2, 2), np.float32), opacity=0), image)
    assert heatmap.overlay(image, np.ones((2, 2), np.float32), 0.5)[0, 0, 0] > 100


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_the_overlay_is_the_weighted_sum_to_a_grey_level(alpha: float, low: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (30, 40, 3), np.uint8)
    heat = rng.uniform(low, 1, (30, 40)).astype(np.float32)
    weight = alpha * (np.sqrt(np.abs(heat.astype(np.float64)))[..., None] if low < 0 else 1)
    expected = weight * heatmap.colorize(heat) + (1 - weight) * image
    for given in (image, image[::-1][::-1], np.asfortranarray(image)):
        assert np.abs(heatmap.overlay(given, heat, alpha) - expected).max() <= 0.501


@pytest.mark.parametrize("colormap", [None, "blues"])
def test_by_value_the_colours_are_as_strong_as_the_map(colormap: str | None) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (30, 40, 3), np.uint8)
    heat = rng.integers(0, 256, (30, 40)).astype(np.float32) / 255
    heat[:, :20] = 0
    drawn = heatmap.overlay(image, heat, colormap=colormap)
    weight = 0.8 * (np.sqrt(heat) if colormap else heat)[..., None]
    expected = weight * heatmap.colorize(heat, colormap or "inferno") + (1 - weight) * image
    assert np.abs(drawn - expected).max() <= 1.5
    np.testing.assert_array_equal(drawn[:, :20], image[:, :20])


@pytest.mark.parametrize("opacity", ["value", 0.5])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_what_the_network_does_not_see_stays_itself(opacity: heatmap.Opacity, low: float) -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    heat = np.full((40, 60), 0.9, np.float32)
    heat[20, 30] = low
    drawn = heatmap.overlay(image, heat, opacity, seen=(10, -3, 50, 43))
    for outside in (np.s_[:, :9], np.s_[:, 51:]):
        np.testing.assert_array_equal(drawn[outside], image[outside])
    assert (drawn[5, 12:48] != 100).any(axis=-1).all()
    assert len(np.unique(drawn[5, [9, 10]], axis=0)) == 2  # the frame: dark outside, light inside
    np.testing.assert_array_equal(
        heatmap.overlay(image, heat, opacity, seen=(-1, 0, 60, 41)), heatmap.overlay(image, heat, opacity)
    )


def test_a_map_of_pixels_is_scaled_as_captum_does() -> None:
    heat = np.linspace(0, 1, 1000, dtype=np.float32).reshape(20, 50) ** 4
    rising, total = np.sort(heat.ravel()), np.cumsum(np.sort(heat.ravel()))
    top = rising[np.where(total >= total[-1] * 0.98)[0][0]]  # captum.attr.visualization._cumulative_sum_threshold
    np.testing.assert_allclose(heatmap.scaled(heat), np.clip(heat / top, 0, 1), atol=1e-4)
    np.testing.assert_allclose(heatmap.scaled(-heat), -heatmap.scaled(heat))
    assert not heatmap.scaled(np.zeros((3, 3), np.float32)).any()
    drawn = heatmap.overlay(np.zeros((20, 50, 3), np.uint8), heat, on_paper=True)
    assert drawn[0].min() > 150  # pale where the map is low
    assert drawn[-1, -1].tolist() == [8, 48, 107]


@pytest.mark.parametrize("opacity", ["vlaue", -0.1, 1.5])
def test_an_unknown_opacity(opacity: heatmap.Opacity) -> None:
    with pytest.raises(heatmap.OutputError, match=rf"the opacity is {opacity!r}; it is value, or a number from 0 to 1"):
        heatmap.overlay(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.float32), opacity)


def test_every_part_has_its_box() -> None:
    heat = np.zeros((40, 50), np.float32)
    parts = [(5, 7, 12, 20), (30, 2, 33, 4), (20, 30, 45, 39)]
    for x1, y1, x2, y2 in parts:
        heat[y1:y2, x1:x2] = 1
    assert heatmap.boxes(heat) == [parts[2], parts[0], parts[1]]
    assert heatmap.boxes(heat, least=0.02) == [parts[2], parts[0]]
    assert heatmap.boxes(np.full_like(heat, np.nan)) == []
    assert heatmap.boxes(heat[:, ::-1]) == [
        (50 - x2, y1, 50 - x1, y2) for x1, y1, x2, y2 in (parts[2], parts[0], parts[1])
    ]
