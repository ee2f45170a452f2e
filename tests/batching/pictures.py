"""Pictures on disk for the tests of batches."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from onnxcam.media import image

ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES = str(ASSETS / "shapes.onnx")
RED: NDArray[np.uint8] = np.full((96, 96, 3), (255, 0, 0), np.uint8)
"""A picture that ends the process of `tests.batching.killers`."""
GREEN: NDArray[np.uint8] = np.full((96, 96, 3), (0, 255, 0), np.uint8)
"""A picture that makes it wait."""
BLUE: NDArray[np.uint8] = np.full((96, 96, 3), (0, 0, 255), np.uint8)
"""A picture that ends the parent of the process."""


def shapes(number: int) -> NDArray[np.uint8]:
    """Return a picture of shapes; each number gives another one."""
    whole = image.read(ASSETS / f"shapes_{1 + number % 2}.png")
    small = np.ascontiguousarray(whole[::3, ::3])
    return np.roll(small, 5 * (number // 2), axis=1)


def folder(path: Path, count: int, broken: tuple[int, ...] = (), **others: NDArray[np.uint8]) -> Path:
    """Write *count* pictures, those with numbers in *broken* unreadable, and *others* by name."""
    path.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        file = path / f"{number:04d}.png"
        if number in broken:
            file.write_bytes(b"no image")
        else:
            image.write(file, shapes(number))
    for name, picture in others.items():
        image.write(path / f"{name}.png", picture)
    return path


def rows(where: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a batch, in the order of its parts."""
    parts = sorted(Path(where).glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def content(where: str | Path) -> dict[str, bytes]:
    """Return the files of a batch by name."""
    return {str(one.relative_to(where)): one.read_bytes() for one in sorted(Path(where).rglob("*")) if one.is_file()}


def table(**columns: list[Any]) -> pa.Table:
    """Return a table."""
    return pa.table(columns)
