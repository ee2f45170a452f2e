"""Shards: which pictures a run takes, by the hash of their ids, and how its files are called."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from onnxcam.errors import OnnxcamError
from onnxcam.paths import PathLike

__all__ = [
    "Shard",
    "common_root",
    "digest",
    "file_identity",
    "list_identity",
    "picture_ids",
    "pictures_identity",
    "shard_count",
]


@dataclass(frozen=True)
class Shard:
    """Shard *index*, from 0, of *count*.

    A picture belongs to the shard that the hash of its id says: the same on every machine, whatever else is there.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"i/n"``, i from 0 to n − 1; OnnxcamError for anything else."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if found is None or not int(found[1]) < int(found[2]):
            raise OnnxcamError(f"--shard {text!r} is no shard; it is i/n, i from 0 to n-1, such as 0/8")
        return cls(int(found[1]), int(found[2]))

    def has(self, id: str) -> bool:
        """Whether the picture *id* belongs to the shard."""
        return self.count == 1 or int.from_bytes(digest(id)[:8], "big") % self.count == self.index

    def blocks(self, ids: Sequence[str], size: int) -> list[range]:
        """Split the pictures *ids* into blocks of *size*; return the numbers of those that belong to the shard.

        A block belongs to the shard of its first picture. What a model says of a picture may depend on its batch
        (rounding, dynamic quantisation): since blocks are the same for all shards, so are batches within them.
        """
        starts = range(0, len(ids), size)
        return [range(start, min(start + size, len(ids))) for start in starts if self.has(ids[start])]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def infix(self) -> str:
        """The shard in the names of files; empty if it is the only one."""
        return "" if self.count == 1 else f"{self.index}-of-{self.count}-"

    def part(self, number: int) -> str:
        """Return the name of the Parquet file of part *number*."""
        return f"part-{self.infix}{number:06d}.parquet"

    @property
    def summary(self) -> str:
        """The name of the file that is written when the shard is complete."""
        return f"summary-{self.infix}".rstrip("-") + ".json"


def shard_count(name: str) -> int | None:
    """Return the number of shards of the run that wrote the file *name*; None where a batch writes no such file."""
    found = re.fullmatch(r"(?:part|summary)(?:-\d+-of-(\d+))?(?:-\d+\.parquet|\.json)", name)
    return None if found is None else int(found[1] or 1)


def digest(id: str) -> bytes:
    """Return 16 bytes that stand for *id*."""
    return hashlib.blake2b(id.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def picture_ids(paths: Sequence[PathLike]) -> list[str]:
    """Return the path of each picture relative to the folder that holds all: the same wherever that folder is.

    Example:
        >>> picture_ids(["/data/photos/a.png", "/data/photos/cats/b.png"])
        ['a.png', 'cats/b.png']
    """
    whole = [os.path.abspath(path) for path in paths]
    try:
        root = os.path.commonpath([os.path.dirname(path) for path in whole]) if whole else ""
    except ValueError:  # several drives
        return whole
    return [os.path.relpath(path, root).replace(os.sep, "/") for path in whole]


def common_root(paths: Sequence[PathLike]) -> str | None:
    """Return what the *paths*, as they are written, have before the ids of `picture_ids`; None where that differs.

    Example:
        >>> common_root(["photos/a.png", "photos/cats/b.png"])
        'photos/'
    """
    written = [os.fspath(path).replace(os.sep, "/") for path in paths]
    ids = picture_ids(paths)
    roots = {one.removesuffix(id) if one.endswith(id) else None for one, id in zip(written, ids, strict=True)}
    return roots.pop() if len(roots) == 1 else None


def pictures_identity(paths: Sequence[PathLike]) -> str:
    """Return the number of the pictures, and a hash of their ids and sizes: the same wherever their folder is."""
    return list_identity([f"{id}\0{_size(path)}" for id, path in zip(picture_ids(paths), paths, strict=True)])


def file_identity(path: PathLike) -> str:
    """Return the name of a file and a hash of its content, or the name of a folder: the same wherever it is."""
    name = os.path.basename(os.path.abspath(path))
    if not os.path.isfile(path):
        return name
    with open(path, "rb") as file:
        return f"{name} ({hashlib.file_digest(file, 'sha256').hexdigest()[:12]})"


def _size(path: PathLike) -> int:
    """Return the bytes of a file, or -1 where there is none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def list_identity(paths: Sequence[PathLike]) -> str:
    """Return the number of the paths, and a hash of them in their order."""
    found = hashlib.sha256("\n".join(os.fspath(path) for path in paths).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{len(paths)} ({found[:12]})"
