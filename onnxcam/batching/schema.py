"""The rows of a batch: their columns, and how they become a Parquet file. Documented in docs/batch.md."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from onnxcam.errors import OutputError
from onnxcam.text import in_message

__all__ = [
    "COLUMNS",
    "KEY",
    "VERSION",
    "BatchRow",
    "differing",
    "from_bytes",
    "identity_of",
    "schema",
    "table",
    "to_bytes",
]

BatchRow: TypeAlias = dict[str, Any]
"""The values of one row by column; a missing one is null."""

VERSION = 2
"""Version of the schema. In version 1, thumbnails have 8 × 8 pixels."""
_READ = (1, 2)
KEY = b"onnxcam.batch"
"""Key of the metadata of a Parquet file: the schema's version, and what decides the rows, as JSON."""

_FLOATS = pa.list_(pa.float64())
_INTS = pa.list_(pa.int32())

COLUMNS = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),  # place of the picture in the source, from 0
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),  # of the file
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("target", pa.string()),  # what is explained, in words
        pa.field("index", pa.int32()),  # of the explained class
        pa.field("label", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("probability", pa.float64()),
        pa.field("detection", _FLOATS),  # x1, y1, x2, y2
        pa.field("predicted", pa.int32()),  # the class of the highest score
        pa.field("predicted_label", pa.string()),
        pa.field("predicted_probability", pa.float64()),
        pa.field("truth", pa.list_(pa.string())),  # true labels
        pa.field("correct", pa.bool_()),
        pa.field("layer", pa.string()),
        pa.field("grid", _INTS),  # cells of the layer
        pa.field("map", pa.binary()),  # raw map, little endian, row-major
        pa.field("map_shape", _INTS),
        pa.field("map_dtype", pa.string()),
        pa.field("heat", pa.binary()),  # map over the whole picture, uint8 [16, 16]
        pa.field("box", _INTS),  # around the largest region of the map
        pa.field("map_min", pa.float64()),
        pa.field("map_max", pa.float64()),
        pa.field("map_area", pa.float64()),
        pa.field("map_x", pa.float64()),
        pa.field("map_y", pa.float64()),
        pa.field("map_border", pa.float64()),
        pa.field("map_corners", pa.float64()),
        pa.field("map_truth", pa.float64()),
        pa.field("truth_area", pa.float64()),
        pa.field("features", pa.binary()),  # float16 [C]
        pa.field("thumbnail", pa.binary()),  # uint8 [16, 16, 3]
        pa.field("dhash", pa.uint64()),
        pa.field("overlay", pa.string()),
        pa.field("note", pa.string()),
        pa.field("warnings", pa.list_(pa.string())),
        pa.field("error", pa.string()),
        pa.field("error_type", pa.string()),
    ]
)
"""Columns of every batch, in their order; columns of a manifest follow."""


def schema(own: pa.Schema, identity: Mapping[str, Any]) -> pa.Schema:
    """Return the schema of a batch with the columns *own* of its manifest.

    OutputError where one of them has the name of another column.
    """
    taken = [name for name in own.names if name in COLUMNS.names]
    if taken:
        raise OutputError(
            f"the manifest's column {in_message(taken[0])} has the name of a column of the results; rename it"
        )
    fields = [one.with_type(_plain(one.type)) for one in (*COLUMNS, *own)]
    return pa.schema(fields, {KEY: json.dumps({"schema": VERSION, **identity}, sort_keys=True).encode()})


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return a type as Parquet gives it back, so that rows that were read again are written as the same bytes."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(pa.field("element", _plain(kind.value_type)))
    return kind


def table(rows: Sequence[BatchRow], wanted: pa.Schema) -> pa.Table:
    """Return *rows* as a table of the schema *wanted*."""
    return pa.Table.from_pylist(list(rows), schema=wanted)


def from_bytes(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows in a Parquet file, or some of their columns; pyarrow.ArrowInvalid or OSError if it is none.

    No thread of Arrow is started (`pyarrow.parquet.read_table` starts one): it could outlive the interpreter.
    """
    return pq.ParquetFile(pa.BufferReader(data)).read(columns, use_threads=False)


def to_bytes(rows: pa.Table) -> bytes:
    """Return *rows* as a Parquet file; the same rows give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd", row_group_size=len(rows) or 1, store_schema=True)
    return sink.getvalue()


def identity_of(found: pa.Schema, where: str) -> dict[str, Any]:
    """Return what decides the rows, of the metadata of a Parquet file; OutputError where it is no part of a batch."""
    text = (found.metadata or {}).get(KEY)
    if text is None:
        raise OutputError(f"{in_message(where)}: no part of a batch; name folders that `onnxcam batch` wrote")
    identity: dict[str, Any] = json.loads(text)
    version = identity.pop("schema", None)
    if version not in _READ:
        raise OutputError(
            f"{in_message(where)}: its schema has version {version}, this onnxcam reads "
            f"{' and '.join(map(str, _READ))}; use the onnxcam that wrote it"
        )
    return identity


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterable[str]:
    """Yield the names whose values differ."""
    return (name for name in {**one, **other} if one.get(name) != other.get(name))
