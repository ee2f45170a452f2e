"""Tar files of WebDataset: where each picture begins, so that it is read without unpacking."""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa

from onnxcam import paths
from onnxcam.batching.addresses import filesystem, is_remote, storage
from onnxcam.errors import ImageError
from onnxcam.media.image_files import SUFFIXES
from onnxcam.text import first_line, in_message

__all__ = ["index"]

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LABELS = (".cls", ".label")
"""Endings of members that hold the true class."""


def index(name: str) -> pa.Table:
    """Return the pictures in the tar files *name*: one file, a pattern, or ``data-{000..127}.tar``.

    The id of a picture is the tar's name and the member's without its ending. A member ``KEY.cls`` holds the class.

    Raises ImageError where a file is missing, compressed or damaged.
    """
    rows = [row for one in _tars(name) for row in _members(one)]
    if not rows:
        raise ImageError(f"{in_message(name)}: no image is in it; members end with .jpg, .png or the like")
    types = {"offset": pa.int64(), "size": pa.int64(), "truth": pa.list_(pa.string())}
    columns = ("id", "path", "offset", "size", "target", "truth")
    return pa.table({key: pa.array([row.get(key) for row in rows], types.get(key, pa.string())) for key in columns})


def _tars(name: str) -> list[str]:
    """Return the tar files that *name* names, in order."""
    found = _RANGE.search(name)
    if found is not None:
        width, first, last = len(found[1]), int(found[1]), int(found[2])
        numbers = range(first, last + 1)
        return [one for n in numbers for one in _tars(f"{name[: found.start()]}{n:0{width}d}{name[found.end() :]}")]
    if not any(mark in name for mark in "*?["):
        return [name]
    if is_remote(name):
        system, path = filesystem(name)
        with storage(name, ImageError):
            tars = [system.unstrip_protocol(one) for one in sorted(system.glob(path))]
    else:
        tars = sorted(glob.glob(name, recursive=True))
    if not tars:
        raise ImageError(f"{in_message(name)}: no file is called like this; check the name")
    return tars


def _members(name: str) -> Iterator[dict[str, Any]]:
    """Yield the pictures of one tar file."""
    if name.lower().endswith((".tar.gz", ".tgz")):
        raise ImageError(f"{in_message(name)}: a compressed tar cannot be read at any place; gunzip it first")
    stem = PurePosixPath(name).name
    pictures: dict[str, dict[str, Any]] = {}
    labels: dict[str, str] = {}
    with _opened(name) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    key, ending = _split(member.name)
                    if member.isfile() and ending in SUFFIXES:
                        place = {"path": name, "offset": member.offset_data, "size": member.size}
                        pictures.setdefault(key, {"id": f"{stem}/{key}", **place})
                    elif member.isfile() and ending in _LABELS:
                        labels[key] = cast(Any, tar.extractfile(member)).read(1000).decode("utf-8", "replace").strip()
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise ImageError(f"{in_message(name)}: no tar file, or a damaged one: {first_line(error)}") from None
    for key, row in pictures.items():
        yield {**row, "truth": [labels[key]] if key in labels else None}


def _opened(name: str) -> BinaryIO:
    if not is_remote(name):
        paths.check_file(name, ImageError, "tar file")
        return open(name, "rb")
    system, path = filesystem(name)
    with storage(name, ImageError):
        return cast(BinaryIO, system.open(path, "rb"))


def _split(member: str) -> tuple[str, str]:
    """Return the key of a sample, which ends at the first dot of the file's name, and the last ending."""
    folder, name = os.path.split(member.removeprefix("./"))
    key, _, rest = name.partition(".")
    return f"{folder}/{key}" if folder else key, f".{rest.rpartition('.')[2].lower()}"
