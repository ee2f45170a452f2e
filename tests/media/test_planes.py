"""Slices of a volume: the right plane, the right way up, in millimetres."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxcam.media import planes

SIZE = (20, 30, 24)
"""To the right, the front and the head."""


def head() -> NDArray[np.float32]:
    """A volume that is bright to the right, at the front and at the top, of values 0 to 1."""
    ramps = np.meshgrid(*(np.linspace(0, 1, n) for n in SIZE), indexing="ij")
    return np.asarray(sum(ramps) / 3, np.float32)


def panels(picture: NDArray[np.uint8], widths: list[int]) -> list[NDArray[np.uint8]]:
    """Return the slices of a *picture*, without captions."""
    starts = np.cumsum([0, *(width + 6 for width in widths)])
    return [picture[:-22, start : start + width] for start, width in zip(starts, widths, strict=False)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_any_order_and_direction_of_axes_is_drawn_alike(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    data, heat = head(), np.zeros(SIZE, np.float32)
    heat[4, 20, 18] = 1
    expected = planes.overlay(data, heat, np.diag([1.0, 1, 2, 1]), 0.5, "jet")
    steps = tuple(slice(None, None, sign) for sign in signs)
    affine = np.zeros((4, 4))
    affine[range(3), [order.index(axis) for axis in range(3)]] = np.array([1.0, 1, 2]) * signs
    found = planes.overlay(data[steps].transpose(order), heat[steps].transpose(order), affine, 0.5, "jet")
    np.testing.assert_array_equal(found, expected)


def test_the_right_is_on_the_left_and_the_head_and_the_front_above() -> None:
    heat = np.zeros(SIZE, np.float32)
    heat[10, 15, 12] = 1
    drawn = planes.overlay(head(), heat, np.diag([1.0, 1, 2, 1]), 0.0, "jet")
    scale = 320 / 48  # 24 voxels of 2 mm are the longest side
    widths = [round(20 * scale), round(20 * scale), round(30 * scale)]
    axial, coronal, sagittal = panels(drawn, widths)
    assert axial.shape[0] == 320
    assert not axial[: 320 - round(30 * scale)].any()  # 30 mm high; the others 48 mm
    for one in (coronal, sagittal):
        rows, columns = one[..., 0].mean(axis=1), one[..., 0].mean(axis=0)
        assert rows[40] > rows[-40]  # the head is above
        assert columns[30] > columns[-30]  # the right, or the front, is on the left
    assert axial[320 - 150, :, 0].mean() > axial[-40, :, 0].mean()


def test_slices_go_through_the_largest_value() -> None:
    data, heat = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    heat[3, 25, 5] = 1
    heat[15, 5, 20] = 0.5
    coloured = planes.overlay(data, heat, np.eye(4), 1.0, "jet").astype(int)
    warm = coloured[..., 0] - coloured[..., 2] > 100
    scale = 320 / 30
    for one, (row, column) in zip(
        panels(warm[..., None].repeat(3, -1).astype(np.uint8), [round(n * scale) for n in (20, 20, 30)]),
        [(30 - 25, 20 - 3), (24 - 5, 20 - 3), (24 - 5, 30 - 25)],
        strict=True,
    ):
        rows, columns = np.nonzero(one[..., 0])
        high = one.shape[0] - round((30 if row == 5 else 24) * scale)
        np.testing.assert_allclose(
            [rows.mean() - high, columns.mean()], [(row - 0.5) * scale, (column - 0.5) * scale], atol=4
        )


def test_without_a_position_the_three_axes_are_drawn() -> None:
    heat = np.zeros(SIZE, np.float32)
    heat[3, 25, 5] = 1
    drawn = planes.overlay(head(), heat, None, 0.0, "jet")
    widths = [round(n * 320 / 30) for n in (24, 24, 30)]
    assert drawn.shape == (320 + 22, sum(widths) + 12, 3)
    first = panels(drawn, widths)[0][..., 0]
    assert first[40].mean() < first[-40].mean()  # as the array's indices run
    assert first[:, 40].mean() < first[:, -40].mean()


def test_an_oblique_and_a_flat_affine() -> None:
    turn = np.array([[0.9, -0.43, 0], [0.43, 0.9, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn
    heat = np.zeros(SIZE, np.float32)
    heat[3, 25, 5] = 1
    straight = planes.overlay(head(), heat, np.eye(4), 0.5, "jet")
    np.testing.assert_allclose(planes.overlay(head(), heat, affine, 0.5, "jet").shape, straight.shape, atol=4)
    assert planes.overlay(head(), heat, np.zeros((4, 4)), 0.5, "jet").shape == straight.shape
