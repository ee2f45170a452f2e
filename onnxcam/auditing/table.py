"""Parquet parts of batches → columns in memory; maps of all cells and errors stay on disk."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from onnxcam.batching import schema
from onnxcam.batching.measures import HEAT, THUMBNAIL
from onnxcam.batching.store import Store, open_store
from onnxcam.errors import OutputError
from onnxcam.text import in_message

__all__ = ["AuditTable", "read_table"]

_PART = re.compile(r"part-.*\.parquet")
_READ = (
    "id path target index label probability predicted predicted_label predicted_probability truth correct heat "
    "map_border map_corners map_truth truth_area features thumbnail dhash error"
).split()
_UNNAMED = "unknown"


@dataclass(frozen=True)
class AuditTable:
    """The rows of batches that have a map, or at least a picture.

    Attributes:
        columns: The columns that are read, and those of the manifest.
        own: Names of the columns of the manifest.
        errors: Number of rows with an error; they are left out.
    """

    columns: pa.Table
    own: tuple[str, ...]
    errors: int

    def __len__(self) -> int:
        return len(self.columns)

    def values(self, name: str) -> list[Any]:
        """Return a column as Python values."""
        return self.columns[name].to_pylist()

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a numeric column, NaN for null, float64 [N]."""
        return np.asarray(self.columns[name].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the pictures."""
        return self.values("id")

    @cached_property
    def labels(self) -> NDArray[np.str_]:
        """The class of each row: the explained one, else the predicted, else the first true one."""
        names = ("label", "predicted_label", "index", "predicted", "truth")
        columns = [self.values(name) for name in names]
        return np.array([_label(row) for row in zip(*columns, strict=True)], dtype=np.str_)

    @cached_property
    def classes(self) -> list[str]:
        """The classes, sorted."""
        return [str(label) for label in np.unique(self.labels)]

    @cached_property
    def heat(self) -> NDArray[np.uint8]:
        """Maps over the whole picture [N, 16, 16]; zero where there is none."""
        return self._bytes("heat", (HEAT, HEAT))

    @cached_property
    def thumbnails(self) -> NDArray[np.uint8]:
        """[N, 16, 16, 3]; black where there is none. Those of schema 1 have 8 × 8 pixels, repeated."""
        return self._bytes("thumbnail", (THUMBNAIL, THUMBNAIL, 3), _enlarged)

    @cached_property
    def shown(self) -> NDArray[np.bool_]:
        """Whether a row has a thumbnail, [N]."""
        return np.array([value is not None for value in self.values("thumbnail")], bool)

    def features(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Return the means of the layer's channels of *rows*, [n, C]; None where one has none, or they differ in C."""
        found = self.columns["features"].take(pa.array(rows)).to_pylist()
        if not found or any(one is None for one in found) or len({len(one) for one in found}) > 1:
            return None
        return np.stack([np.frombuffer(one, "<f2").astype(np.float32) for one in found])

    def _bytes(
        self, name: str, shape: tuple[int, ...], whole: Callable[[bytes], bytes] = lambda value: value
    ) -> NDArray[np.uint8]:
        nothing = bytes(int(np.prod(shape)))
        data = b"".join(whole(value) if value else nothing for value in self.values(name))
        return np.frombuffer(data, np.uint8).reshape(-1, *shape)


def _enlarged(thumbnail: bytes) -> bytes:
    """Return a thumbnail of 16 × 16 pixels."""
    side = math.isqrt(len(thumbnail) // 3)
    if side == THUMBNAIL:
        return thumbnail
    pixels = np.frombuffer(thumbnail, np.uint8).reshape(side, side, 3)
    return pixels.repeat(THUMBNAIL // side, axis=0).repeat(THUMBNAIL // side, axis=1).tobytes()


def _label(row: tuple[Any, ...]) -> str:
    label, predicted_label, index, predicted, truth = row
    numbers = [f"class {number}" for number in (index, predicted) if number is not None]
    return label or predicted_label or (truth or [None])[0] or (numbers or [_UNNAMED])[0]


def read_table(folders: Sequence[str | os.PathLike[str]]) -> AuditTable:
    """Return the rows of the batches in *folders*, or addresses.

    Raises:
        OutputError: a folder holds no batch, or none of its rows has a map or a picture.
    """
    if not folders:
        raise OutputError("no folder is named; name the folders that `onnxcam batch` wrote")
    parts = [part for folder in folders for part in _parts(open_store(folder))]
    columns = pa.concat_tables(parts, promote_options="default")
    failed = columns["error"].is_valid().to_numpy(zero_copy_only=False).astype(bool)
    kept = columns.filter(pa.array(~failed))
    where = ", ".join(f"'{in_message(os.fspath(folder))}'" for folder in folders)
    if not len(columns):
        raise OutputError(f"{where}: the batch has no rows; run `onnxcam batch` over more pictures")
    if not len(kept):
        first = columns["error"][0].as_py()
        raise OutputError(
            f"{where}: all {len(columns)} rows are errors (the first: {in_message(first)}); run `onnxcam batch` again"
        )
    own = tuple(name for name in columns.schema.names if name not in schema.COLUMNS.names)
    return AuditTable(kept, own, int(failed.sum()))


def _parts(store: Store) -> Iterator[pa.Table]:
    """Yield the parts in *store*, without the raw maps."""
    names = [name for name in store.names() if _PART.fullmatch(name)]
    if not names:
        raise OutputError(f"{in_message(store.address)}: no batch is there; name folders that `onnxcam batch` wrote")
    for name in names:
        try:
            file = pq.ParquetFile(pa.BufferReader(store.get(name)))
            schema.identity_of(file.schema_arrow, store.path(name))
            own = [one for one in file.schema_arrow.names if one not in schema.COLUMNS.names]
            yield file.read(columns=[*_READ, *own], use_threads=False)
        except pa.ArrowException as error:
            raise OutputError(
                f"{in_message(store.path(name))}: no Parquet file ({in_message(str(error))}); run `onnxcam batch` again"
            ) from None
