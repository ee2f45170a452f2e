"""Sources: what a user names -> one table of pictures, in a fixed order, each with an id of its own."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from onnxcam import paths
from onnxcam.batching import archives, manifests
from onnxcam.batching.addresses import filesystem, is_remote, storage
from onnxcam.errors import ImageError
from onnxcam.media import image_files
from onnxcam.metrics.truth.coco import CocoTruth
from onnxcam.metrics.truth.source import TruthPath
from onnxcam.shards import digest
from onnxcam.text import in_message

__all__ = ["PICTURES", "Picture", "Source", "read_source"]

PICTURES = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("path", pa.string()),  # address of the file
        pa.field("offset", pa.int64()),  # where it begins in that file; null: it is the file
        pa.field("size", pa.int64()),
        pa.field("target", pa.string()),  # what to explain in it; null: the run's targets
        pa.field("truth", pa.list_(pa.string())),  # true labels; null: unknown
    ]
)
"""Columns that every table of pictures has."""


@dataclass(frozen=True)
class Picture:
    """A picture of a source.

    Attributes:
        number: Its place in the source, from 0.
        id: What names it in the results; no other picture has it.
        path: Address of the file.
        offset: Where it begins in that file; None: it is the file.
        size: Its bytes.
        target: What to explain in it; None: the run's targets.
        truth: True labels; None where they are not known.
    """

    number: int
    id: str
    path: str
    offset: int | None = None
    size: int | None = None
    target: str | None = None
    truth: list[str] | None = None


@dataclass(frozen=True)
class Source:
    """Pictures of a source.

    Attributes:
        table: One row for each picture: `PICTURES`, and the columns of a manifest.
        truth: File or folder of the ground truth that came with the source; None if there is none.
    """

    table: pa.Table
    truth: str | None = None
    _columns: list[str] = field(default_factory=lambda: list(PICTURES.names), repr=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def own(self) -> pa.Schema:
        """The columns of the manifest that results keep."""
        return pa.schema([one for one in self.table.schema if one.name not in PICTURES.names])

    def ids(self) -> Iterator[str]:
        """Yield the pictures' ids."""
        return (text for chunk in self.table["id"].chunks for text in chunk.to_pylist())

    def pictures(self, start: int = 0, end: int | None = None) -> Iterator[Picture]:
        """Yield the pictures with numbers from *start* to *end*."""
        some = self.table.select(self._columns).slice(start, None if end is None else end - start)
        number = start
        for batch in some.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                yield Picture(number, **row)
                number += 1

    def columns(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return what the manifest says of each of *numbers*."""
        names = self.own.names
        return (
            self.table.select(names).take(pa.array(numbers, pa.int64())).to_pylist() if names else [{}] * len(numbers)
        )

    @cached_property
    def digest(self) -> str:
        """A hash of the pictures' ids, targets and true labels, in their order."""
        found = hashlib.sha256()
        for one in self.pictures():
            found.update(f"{one.id}\0{one.target or ''}\0{one.truth or ''}\n".encode("utf-8", "surrogateescape"))
        return found.hexdigest()


def read_source(names: Sequence[str | os.PathLike[str]], images: str | None = None) -> Source:
    """Return the pictures that *names* name, in a fixed order.

    Args:
        names: Images, folders, patterns or lists of these (`onnxcam.media.image_files.files`); a manifest, ``.csv``,
            ``.tsv``, ``.jsonl`` or ``.parquet``; tar files of WebDataset; COCO JSON; ``voc:FOLDER``,
            ``imagefolder:FOLDER``; or any of these at an address that fsspec opens, such as ``s3://bucket/photos``.
        images: Folder that the paths in a manifest or in COCO JSON are relative to.

    Raises:
        ImageError: nothing is there, a manifest cannot be read, or two pictures have one id.
        OnnxcamError: the storage cannot be read, or its driver is not installed.
    """
    parts = [_read(os.fspath(name), images) for name in names]
    if not parts:
        raise ImageError("no picture is named; give a folder, a pattern, a manifest or an address")
    if images is not None and not any(map(_may_have_folder, names)):
        raise ImageError(
            "images (--images) is the folder of the paths in a manifest or COCO JSON, and no source is one; leave "
            "it out"
        )
    truths = list(dict.fromkeys(part.truth for part in parts if part.truth))
    if len(truths) > 1:
        raise ImageError(f"several sources have their own truth ({', '.join(truths)}); run them one by one")
    table = pa.concat_tables([part.table for part in parts], promote_options="default")
    found = Source(table.combine_chunks(), truths[0] if truths else None)
    if not len(found):
        raise ImageError(f"{in_message(os.fspath(names[0]))}: there is no picture in it")
    _require_unique(found)
    return found


def _may_have_folder(name: str | os.PathLike[str]) -> bool:
    """Whether the source *name* may hold paths that are relative to a folder."""
    text = os.fspath(name)
    is_format = text.partition(":")[0].lower() in _FORMATS
    return is_format or PurePosixPath(text.partition("?")[0]).suffix.lower() in (*manifests.ENDINGS, ".json")


def _read(name: str, images: str | None) -> Source:
    kind, colon, rest = name.partition(":")
    if colon and kind.lower() in _FORMATS and not is_remote(name) and paths.kind(name) == "missing":
        return _FORMATS[kind.lower()](rest, images)
    ending = PurePosixPath(name.partition("?")[0]).suffix.lower()
    if ending in manifests.ENDINGS:
        return _of_manifest(name, images)
    if ending == ".tar" or name.lower().endswith((".tar.gz", ".tgz")):
        return Source(archives.index(name))
    if is_remote(name):
        return _remote(name)
    if ending == ".json":
        return _of_coco(name, images)
    return Source(_files(name))


def _of_manifest(name: str, images: str | None) -> Source:
    return Source(manifests.read_manifest(name, images))


def _files(name: str) -> pa.Table:
    """Return the images of files, folders, patterns and lists; those of a folder are named from there."""
    found = image_files.files([name])
    root = name if paths.kind(name) == "folder" else None
    return _table(found, [_posix(os.path.relpath(path, root)) if root else _posix(path) for path in found])


def _remote(name: str) -> Source:
    """Return the images in a folder, or of a pattern, of other storage."""
    system, path = filesystem(name)
    with storage(name, ImageError):
        if any(mark in path for mark in "*?["):
            found = sorted(system.glob(path))
            root = path[: min(path.index(mark) for mark in "*?[" if mark in path)].rpartition("/")[0]
        elif system.isdir(path):
            found, root = sorted(system.find(path)), path.rstrip("/")
        else:
            found, root = [path] if system.exists(path) else [], path.rpartition("/")[0]
    found = [one for one in found if PurePosixPath(one).suffix.lower() in image_files.SUFFIXES]
    if not found:
        raise ImageError(f"{in_message(name)}: no image is there; check the address")
    addresses = [system.unstrip_protocol(one) for one in found]
    return Source(_table(addresses, [one.removeprefix(root).lstrip("/") for one in found]))


def _of_coco(name: str, images: str | None) -> Source:
    """Return the images of COCO JSON, with its truth."""
    truth = CocoTruth(TruthPath(Path(name)))
    files = truth.pictures
    folder = images or _folder_of(Path(name), files[:1])
    return Source(_table([_joined(folder, one) for one in files], [_posix(one) for one in files]), f"coco:{name}")


def _folder_of(annotations: Path, first: Sequence[str]) -> str:
    """Return the folder that holds the images of *annotations*, as COCO lays its folders out."""
    split = annotations.stem.rpartition("_")[2]
    near = [annotations.parent, annotations.parent.parent]
    for folder in (base / inner for base in near for inner in ("", "images", split, f"images/{split}")):
        if first and paths.kind(folder / first[0]) == "file":
            return str(folder)
    raise ImageError(
        f"{in_message(annotations)}: its first image, {in_message(first[0] if first else 'none')}, is in no folder "
        "beside it; name the folder with --images"
    )


def _of_voc(name: str, images: str | None) -> Source:
    folder = images or os.path.join(name, "JPEGImages")
    found = _files(folder if paths.kind(folder) == "folder" else name)
    return Source(found, f"voc:{name}")


def _of_class_folders(name: str, images: str | None) -> Source:
    return Source(_files(images or name), f"imagefolder:{name}")


def _of_tars(name: str, images: str | None) -> Source:
    return Source(archives.index(name))


_FORMATS = {
    "coco": _of_coco,
    "voc": _of_voc,
    "imagefolder": _of_class_folders,
    "manifest": _of_manifest,
    "webdataset": _of_tars,
}


def _table(addresses: Sequence[str], ids: Sequence[str]) -> pa.Table:
    columns = {"id": ids, "path": addresses}
    return pa.table(
        {name: pa.array(columns.get(name, [None] * len(ids)), PICTURES.field(name).type) for name in PICTURES.names}
    )


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _require_unique(source: Source) -> None:
    """Raise ImageError if two pictures have one id."""
    if len({digest(one) for one in source.ids()}) == len(source):
        return
    twice, count = Counter(source.ids()).most_common(1)[0]
    raise ImageError(
        f"{count} pictures have the id {in_message(twice)}; give each its own in the manifest's column id, or name it "
        "once"
    )
