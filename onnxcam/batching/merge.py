"""`merge`: the parts of all shards -> the parts of one run, byte for byte."""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from onnxcam.batching import schema
from onnxcam.batching.batch import BatchSummary, header_of, write_summary
from onnxcam.batching.store import HEADER, OURS, Store, open_store
from onnxcam.errors import OutputError
from onnxcam.shards import Shard
from onnxcam.text import first_line, in_message

__all__ = ["merge"]

_PART = re.compile(r"part-(?:(\d+)-of-(\d+)-)?(\d+)\.parquet")
_SUMMARY = re.compile(r"summary(?:-(\d+)-of-(\d+))?\.json")


def merge(
    folders: Sequence[str | os.PathLike[str]], dest: str | os.PathLike[str], *, overwrite: bool = False
) -> BatchSummary:
    """Join the parts of the shards in *folders* into the batch of one run in *dest*.

    The result equals that of a run without shards, byte for byte. Memory holds a part of each shard.

    Args:
        folders: Folders or addresses that hold all shards; several shards may share one.
        dest: Folder, or address, of the merged batch.
        overwrite: Remove the batch in *dest* first.

    Raises:
        OutputError: a part is missing, there twice, or of another run: another model, method, preprocessing or source.
    """
    stores = [open_store(folder) for folder in folders]
    if not stores:
        raise OutputError("no folder is named; name the folders that hold the shards")
    header = _same_header(stores)
    target = open_store(dest)
    if any(store.address == target.address for store in stores):
        raise OutputError(f"{in_message(target.address)}: is read by this command; choose another folder with -o")
    _require_free(target, overwrite)
    names = _parts_of(stores)
    target.put(HEADER, stores[0].get(HEADER))
    parts, source = [], header["source"]["pictures"]
    for number, rows in enumerate(_repacked(_in_order(names, header, source), header["part_size"])):
        parts.append(Shard().part(number))
        target.put(parts[-1], schema.to_bytes(rows))
    for store in stores:
        _copy_overlays(store, target)
    return write_summary(target, Shard(), parts, source)


def _same_header(stores: Sequence[Store]) -> dict[str, Any]:
    """Return what decides the rows of all *stores*; OutputError where it differs."""
    headers = [header_of(store) for store in stores]
    for store, header in zip(stores, headers, strict=True):
        differing = sorted(schema.differing(headers[0], header))
        if differing:
            raise OutputError(
                f"{in_message(store.address)}: is of another run than '{in_message(stores[0].address)}' (other "
                f"{', '.join(differing)}); merge the shards of one run"
            )
    return headers[0]


def _require_free(target: Store, overwrite: bool) -> None:
    there = [name for name in target.names() if OURS.fullmatch(name)]
    if there and not overwrite:
        raise OutputError(
            f"{in_message(target.address)}: holds '{there[0]}'; choose another folder with -o, or --overwrite it"
        )
    target.remove(there)


def _parts_of(stores: Sequence[Store]) -> list[list[tuple[Store, str]]]:
    """Return the parts of each shard in their order; OutputError where a shard or a part is missing or there twice."""
    found: dict[tuple[int, int], dict[int, tuple[Store, str]]] = {}
    complete: set[tuple[int, int]] = set()
    for store in stores:
        for name in store.names():
            part, summary = _PART.fullmatch(name), _SUMMARY.fullmatch(name)
            if summary is not None:
                complete.add((int(summary[1] or 0), int(summary[2] or 1)))
            if part is None:
                continue
            shard = (int(part[1] or 0), int(part[2] or 1))
            other = found.setdefault(shard, {}).setdefault(int(part[3]), (store, name))
            if other != (store, name):
                raise OutputError(
                    f"'{other[0].path(other[1])}' and '{store.path(name)}' are the same part; name each folder once"
                )
    counts = {count for _, count in {*found, *complete}}
    if len(counts) != 1:
        text = ", ".join(map(str, sorted(counts))) or "no"
        raise OutputError(f"the folders hold parts of runs with {text} shards; merge the shards of one run")
    (count,) = counts
    for index in range(count):
        if (index, count) not in complete:
            raise OutputError(
                f"shard {index}/{count} is not complete; run `onnxcam batch … --shard {index}/{count}` again, and name "
                "its folder"
            )
    return [[parts[n] for n in sorted(parts)] for _, parts in sorted(found.items())]


def _in_order(shards: Sequence[Sequence[tuple[Store, str]]], header: dict[str, Any], count: int) -> Iterator[pa.Table]:
    """Yield the rows of each picture, in the order of the source; OutputError for a gap or a double."""
    streams = [_pictures(shard, header) for shard in shards]
    expected = 0
    for number, rows in heapq.merge(*streams, key=lambda one: one[0]):
        if number != expected:
            what = "is there twice" if number < expected else "is missing"
            raise OutputError(f"picture {min(number, expected)} of the source {what}; run its shard again")
        expected += 1
        yield rows
    if expected != count:
        raise OutputError(f"{expected} of {count} pictures of the source are there; run the shards again")


def _pictures(shard: Sequence[tuple[Store, str]], header: dict[str, Any]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the number of each picture of a shard, and its rows."""
    for store, name in shard:
        table = _read(store, name, header)
        start = 0
        for number, group in groupby(table["number"].to_pylist()):
            length = len(list(group))
            yield number, table.slice(start, length)
            start += length


def _read(store: Store, name: str, header: dict[str, Any]) -> pa.Table:
    """Return the rows of a part; OutputError where it is damaged or of another run."""
    where = store.path(name)
    try:
        table = schema.from_bytes(store.get(name))
    except (pa.ArrowInvalid, OSError) as error:
        raise OutputError(
            f"{in_message(where)}: the part is damaged ({first_line(error)}); remove it and run its shard again"
        ) from None
    differing = sorted(schema.differing(schema.identity_of(table.schema, where), _identity(header)))
    if differing:
        raise OutputError(f"{in_message(where)}: is of another run (other {', '.join(differing)}); remove it")
    return table


def _identity(header: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in header.items() if name not in ("format", "schema")}


def _repacked(pictures: Iterator[pa.Table], size: int) -> Iterator[pa.Table]:
    """Yield the rows of *size* pictures at a time."""
    while group := [rows for _, rows in zip(range(size), pictures, strict=False)]:
        yield pa.concat_tables(group).combine_chunks()


def _copy_overlays(store: Store, target: Store) -> None:
    if "overlays" not in store.names():
        return
    inner = open_store(store.path("overlays"))
    for name in inner.names():
        target.put(f"overlays/{name}", inner.get(name))
