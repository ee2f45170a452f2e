"""Windows over an array: where they lie, and that their weights sum to one."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcam.errors import ModelError, PreprocessError
from onnxcam.media.tiles import Tiling


def monai_starts(length: int, window: int, overlap: float) -> list[int]:
    """MONAI's `dense_patch_slices` on one axis of an image that is at least as long as the window."""
    if length == window:
        return [0]
    step = int(window * (1 - overlap)) or 1
    count = next(d for d in range(-(-length // step)) if d * step + window >= length) + 1
    return [d * step - max(d * step + window - length, 0) for d in range(count)]


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
def test_windows_lie_where_monai_puts_them(overlap: float) -> None:
    for length in range(6, 40):
        for window in range(2, min(length, 14) + 1):
            found = [tile.starts[0] for tile in Tiling((window,), overlap).tiles([length])]
            assert found == monai_starts(length, window, overlap)


def test_weights_are_monais_gaussians_divided_by_their_sum() -> None:
    tiling, size = Tiling((6, 8), 0.5), (13, 17)
    sums, bumps = np.zeros(size), []
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in tiling.window]
    for tile in tiling.tiles(size):
        bump = np.zeros(size)
        bump[tuple(slice(s, s + n) for s, n in zip(tile.starts, tiling.window, strict=True))] = np.outer(*axes)
        bumps.append(bump)
        sums += bump
    for tile, bump in zip(tiling.tiles(size), bumps, strict=True):
        np.testing.assert_allclose(
            tile.weighed(np.ones(tiling.window), (0, 1)), tile.cut(bump / sums, (0, 1)), rtol=1e-5
        )


@pytest.mark.parametrize("size", [(13, 17), (4, 17), (5, 3), (6, 8)])
def test_what_is_cut_and_weighed_adds_up_again(size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).random((3, *size)).astype(np.float32)
    found = np.zeros_like(x)
    for tile in Tiling((6, 8), 0.25).tiles(size):
        tile.add(found, tile.weighed(tile.cut(x, (1, 2)), (1, 2)), (1, 2))
    np.testing.assert_allclose(found, x, rtol=1e-5)


def test_a_shorter_axis_is_padded_evenly_with_zeros() -> None:
    (tile,) = Tiling((6,)).tiles([3])
    np.testing.assert_array_equal(tile.cut(np.array([1, 2, 3]), (0,)), [0, 1, 2, 3, 0, 0])


def test_an_output_of_half_the_size() -> None:
    tiling = Tiling((8,), 0.5)
    assert [tile.starts[0] for tile in tiling.tiles([20], [4])] == [0, 2, 4, 6]
    assert tiling.output_size([20], [4]) == [10]
    with pytest.raises(
        ModelError, match=r"start at 0, 4, 8, 12, 13 of 21.*4 cells for 8: pad .* that give multiples of 2"
    ):
        tiling.tiles([21], [4])


@pytest.mark.parametrize(
    ("window", "overlap", "message"),
    [
        ((), 0.5, "lengths are whole numbers from 1"),
        ((8, 0), 0.5, "the window is 8 × 0; its lengths"),
        ((8,), 1.0, "the overlap of windows is 1; it is a share from 0 to below 1"),
        ((8,), -0.25, "the overlap of windows is -0.25"),
        ((8,), float("nan"), "the overlap of windows is nan"),
    ],
)
def test_what_is_no_window(window: tuple[int, ...], overlap: float, message: str) -> None:
    with pytest.raises(PreprocessError, match=message):
        Tiling(window, overlap)


def test_too_many_windows() -> None:
    with pytest.raises(PreprocessError, match=r"the overlap of 0\.99 gives 67,240 windows, more than 20,000; take a"):
        Tiling((8, 8, 8), 0.99).tiles([48, 48, 47])
