"""Manifests: tables of pictures in CSV, JSON lines or Parquet, with any further columns."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from onnxcam.batching.addresses import is_remote, read
from onnxcam.errors import ImageError
from onnxcam.text import first_line, in_message

__all__ = ["ENDINGS", "read_manifest"]

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
_PATHS = ("path", "image", "file", "filename", "file_name", "url", "address")
"""Names of the column with the address of a picture, in order of preference."""


def read_manifest(name: str, images: str | None = None) -> pa.Table:
    """Return the pictures of a manifest.

    It has a column ``path`` (or image, file, filename, file_name, url, address), relative to *images*, else to the
    manifest's folder. ``id`` names a picture; without it the path does. ``target`` says what to explain in it,
    ``truth`` its true label or a list of them. Other columns are kept.

    Raises ImageError where the file cannot be read or has no such column.
    """
    found = _parsed(name)
    lowered = {column.lower(): column for column in reversed(found.column_names)}
    key = next((lowered[one] for one in _PATHS if one in lowered), None)
    if key is None:
        raise ImageError(
            f"{in_message(name)}: no column names the pictures; call it path (its columns: "
            f"{in_message(', '.join(found.column_names))})"
        )
    written = _texts(found[key], name, key)
    base = images if images is not None else name.rpartition("/")[0] if is_remote(name) else os.path.dirname(name)
    columns = {
        "id": _texts(found[lowered["id"]], name, "id") if "id" in lowered else written,
        "path": pa.array([_placed(base, one) for one in written.to_pylist()], pa.string()),
        "offset": pa.nulls(len(found), pa.int64()),
        "size": pa.nulls(len(found), pa.int64()),
        "target": _optional(found, lowered.get("target")),
        "truth": _labels(found, lowered.get("truth")),
    }
    used = {key, *(lowered.get(one) for one in ("id", "target", "truth"))}
    return pa.table({**columns, **{one: found[one] for one in found.column_names if one not in used}})


def _parsed(name: str) -> pa.Table:
    """Return the table in a file."""
    from pyarrow import csv, json, parquet

    ending = PurePosixPath(name).suffix.lower()
    source = pa.BufferReader(read(name, what="manifest"))
    if not source.size():
        raise ImageError(f"{in_message(name)}: the manifest is empty")
    readers: dict[str, Any] = {
        ".csv": lambda: csv.read_csv(source, csv.ReadOptions(use_threads=False)),
        ".tsv": lambda: csv.read_csv(source, csv.ReadOptions(use_threads=False), csv.ParseOptions(delimiter="\t")),
        ".jsonl": lambda: json.read_json(source, json.ReadOptions(use_threads=False)),
        ".parquet": lambda: parquet.ParquetFile(source).read(use_threads=False),
    }
    try:
        return readers[ending]().combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise ImageError(f"{in_message(name)}: the manifest cannot be read: {first_line(error)}") from None


def _texts(column: pa.ChunkedArray, name: str, title: str) -> pa.Array:
    """Return a column as text; ImageError where a cell is empty."""
    found = _as_text(column)
    for line, cell in enumerate(found.to_pylist(), 1):
        if not cell:
            raise ImageError(f"{in_message(name)}: row {line} has nothing in its column {title}; fill it in")
    return found


def _as_text(column: pa.ChunkedArray) -> pa.Array:
    found = column.cast(pa.string())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _optional(table: pa.Table, title: str | None) -> pa.Array:
    """Return a column as text, with null for an empty cell; all null without the column."""
    if title is None:
        return pa.nulls(len(table), pa.string())
    return pa.array([cell or None for cell in _as_text(table[title]).to_pylist()], pa.string())


def _labels(table: pa.Table, title: str | None) -> pa.Array:
    """Return a column of labels, or of lists of labels, as lists of text."""
    kind = pa.list_(pa.string())
    if title is None:
        return pa.nulls(len(table), kind)
    if pa.types.is_list(table[title].type) or pa.types.is_large_list(table[title].type):
        return pa.array([None if one is None else [str(x) for x in one] for one in table[title].to_pylist()], kind)
    return pa.array([None if not one else [one] for one in _as_text(table[title]).to_pylist()], kind)


def _placed(base: str, path: str) -> str:
    if is_remote(path) or os.path.isabs(path) or not base:
        return path
    return f"{base.rstrip('/')}/{path}" if is_remote(base) else os.path.join(base, path)
