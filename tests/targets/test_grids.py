"""Grids of candidates: the strides and anchors of known detectors, and boxes relative to their cells."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcam.targets.detectors.grid import GRID_FORMS, GridConvention, cells, plan

KNOWN = {
    "YOLOv8, YOLOX": (8400, (640, 640), ((8, 1), (16, 1), (32, 1))),
    "YOLOX-Nano": (3549, (416, 416), ((8, 1), (16, 1), (32, 1))),
    "YOLOv5": (25200, (640, 640), ((8, 3), (16, 3), (32, 3))),
    "NanoDet-Plus": (3598, (416, 416), ((8, 1), (16, 1), (32, 1), (64, 1))),
    "RetinaFace": (16800, (640, 640), ((8, 2), (16, 2), (32, 2))),
    "BlazeFace, short range": (896, (128, 128), ((8, 2), (16, 6))),
    "BlazeFace, back camera": (896, (256, 256), ((16, 2), (32, 6))),
    "BlazeFace, full range": (2304, (192, 192), ((4, 1),)),
    "palms": (2016, (192, 192), ((8, 2), (16, 6))),
    "poses": (2254, (224, 224), ((8, 2), (16, 2), (32, 6))),
    "no square": (6300, (480, 640), ((8, 1), (16, 1), (32, 1))),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_plans(name: str) -> None:
    count, size, levels = KNOWN[name]
    assert plan(count, size) == levels
    assert len(cells(levels, size)) == count


def test_no_plan() -> None:
    assert plan(1000, (640, 640)) is None
    assert np.isnan(GridConvention("centre").corners(np.zeros((7, 4)), (64, 64))).all()
    assert GridConvention("centre").cells(7, (64, 64)) is None


def test_the_order_of_cells() -> None:
    found = cells(((32, 2), (64, 1)), (64, 64))
    assert found.tolist() == [[x, y, 32] for y in (0, 1) for x in (0, 1) for _ in range(2)] + [[0, 0, 64]]


ONE = {
    "centre": [0.5, 0.25, np.log(2), np.log(3)],
    "pixels": [0, -8, 64, 96],
    "squashed": [np.arctanh(0.5), np.arctanh(0.25), 0, np.log(3)],
    "sides": [1, 1.75, 1, 1.25],
    "sides at corners": [0.5, 1.25, 1.5, 1.75],
    "pixel sides": [16, 40, 48, 56],
    "points": [0.5, 0.25, 2, 3],
    "log points": [-0.25, 0, np.log(3), np.log(2)],
    "coverage": [16.5 / 35, 40.5 / 35, 47.5 / 35, 55.5 / 35],
}


@pytest.mark.parametrize("form", ONE)
def test_a_cell(form: str) -> None:
    """Column 1 and row 1 of a grid of 4 × 4 at stride 32: the centre is at (48, 40), the size 64 × 96."""
    values = np.zeros((16, 4))
    values[5] = ONE[form]
    found = GridConvention(form, ((32, 1),)).corners(values, (128, 128))
    np.testing.assert_allclose(found[5], [16, -8, 80, 88])


def test_distributions() -> None:
    bins = np.full((4, 4, 16), -50.0)
    bins[:, :, 2] = 0
    found = GridConvention("bins", ((32, 1),)).corners(bins.reshape(4, 64), (64, 64))
    np.testing.assert_allclose(found[3], [48 - 64, 48 - 64, 48 + 64, 48 + 64])


def test_every_form_has_a_case() -> None:
    assert set(ONE) | {"bins"} == set(GRID_FORMS)
