"""Positions of tokens on three axes, time, row and column: M-RoPE, Qwen2-VL (2409.12191, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["table"]


def table(ids: Sequence[int], image: int, grid: tuple[int, int]) -> NDArray[np.int64]:
    """Return the positions [3, L] of the tokens *ids*, of which those that are *image* lie on *grid*, row by row.

    Text has one position on all axes. The image is at one time, in its rows and columns, counted from where it begins;
    the text after it continues from its longer side.
    """
    found = np.empty((3, len(ids)), np.int64)
    at = np.flatnonzero(np.equal(ids, image))
    start, end = (int(at[0]), int(at[-1]) + 1) if len(at) else (len(ids), len(ids))
    found[:, :start] = np.arange(start)
    if len(at):
        rows, columns = np.divmod(np.arange(end - start), grid[1])
        found[:, start:end] = start + np.stack([np.zeros_like(rows), rows, columns])
    found[:, end:] = start + max(grid) + np.arange(len(ids) - end)
    return found
