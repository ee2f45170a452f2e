"""Results of shards: a folder holds the journal of a shard and, once it is complete, a file that says so.

`read_shards` reads the folders of all shards of one run, so that their results can be joined.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnxcam
from onnxcam import files
from onnxcam.errors import OutputError
from onnxcam.journal import FILE as JOURNAL
from onnxcam.journal import entries_of
from onnxcam.paths import PathLike
from onnxcam.shards import Shard
from onnxcam.text import in_message, to_json

__all__ = ["FILE", "Left", "ShardResult", "ShardSummary", "entries", "left_out", "read_shards", "shard_kind"]

FILE = "shard.json"
"""Name of the file that a complete shard has."""
_FORMAT = "onnxcam.shard"
_AGAIN = "repeat the command of that shard"


@dataclass(frozen=True)
class Left:
    """An image that was left out: its number in the list of all images, its path and the reason."""

    number: int
    picture: str
    why: str


@dataclass(frozen=True)
class ShardSummary:
    """What a complete shard holds: the number of its images, and which of them were left out."""

    shard: str
    pictures: int
    unreadable: Sequence[tuple[str, str]]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON."""
        return {
            "shard": self.shard,
            "pictures": self.pictures,
            "unreadable": [{"picture": picture, "why": why} for picture, why in self.unreadable],
        }


@dataclass(frozen=True)
class ShardResult:
    """Content of the file of a complete shard.

    Attributes:
        kind: What the run is, "validation" or "evaluation".
        shard: Which part of the run it is.
        journal: Identity in the first line of its journal.
        run: What all shards of the run have in common.
        left: Its images that were left out.
        root: What the paths of all images begin with on its machine; None where that differs.
        own: What this shard alone found.
        folder: Where it was read.
    """

    kind: str
    shard: Shard
    journal: Mapping[str, Any]
    run: Mapping[str, Any]
    left: Sequence[Left]
    root: str | None
    own: Mapping[str, Any]
    folder: Path

    def write(self) -> None:
        """Write the file into the folder; OutputError if it cannot be written."""
        content = {
            "onnxcam": onnxcam.__version__,
            "format": _FORMAT,
            "kind": self.kind,
            "shard": asdict(self.shard),
            "journal": self.journal,
            "run": self.run,
            "unreadable": [asdict(one) for one in self.left],
            "root": self.root,
            "own": self.own,
        }
        files.write(self.folder / FILE, to_json(content) + "\n")

    def summary(self, pictures: int) -> ShardSummary:
        """Return the summary of the shard, which has that many *pictures*."""
        return ShardSummary(str(self.shard), pictures, [(one.picture, one.why) for one in self.left])

    def path_in(self, other: ShardResult, picture: str) -> str:
        """Return the path that an image of this shard has on the machine of *other*."""
        if self.root == other.root or self.root is None or other.root is None:
            return picture
        return other.root + picture.replace(os.sep, "/").removeprefix(self.root)

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove the file from *folder*: its shard is not complete any more."""
        with files.writing(folder, "into "):
            (folder / FILE).unlink(missing_ok=True)

    @classmethod
    def read(cls, folder: PathLike) -> ShardResult:
        """Read the file in *folder*; OutputError if the shard is incomplete, or the file no such file."""
        path = Path(folder) / FILE
        try:
            found = json.loads(path.read_text("utf-8"))
            if found["format"] != _FORMAT or found["onnxcam"] != onnxcam.__version__:
                raise ValueError("another format")
            left = [Left(**one) for one in found["unreadable"]]
            shard = Shard(**found["shard"])
            stated = found["journal"], found["run"], left, found["root"], found["own"]
            return cls(found["kind"], shard, *stated, Path(folder))
        except FileNotFoundError:
            there = os.path.exists(path.with_name(JOURNAL))
            what = f"holds a shard that is not complete; {_AGAIN}" if there else "holds no shard; name a folder of one"
            raise OutputError(f"'{in_message(folder)}' {what}") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise OutputError(f"'{in_message(path)}' is damaged, or of another version of onnxcam; {_AGAIN}") from None


def shard_kind(folder: PathLike) -> str | None:
    """Return of what kind the shard in *folder* is, "validation" or "evaluation"; None if there is none.

    OutputError as for `ShardResult.read`.
    """
    path = Path(folder)
    there = any(os.path.exists(path / name) for name in (FILE, JOURNAL))
    return ShardResult.read(path).kind if there else None


def read_shards(folders: Sequence[PathLike], kind: str) -> list[ShardResult]:
    """Return all shards of a run in their order.

    Raises:
        OutputError: a shard is missing, there twice, incomplete, or of another run or *kind*.
    """
    if not folders:
        raise OutputError("no folder is named; name the folders of all shards")
    found = [ShardResult.read(folder) for folder in folders]
    for one in found:
        _require_same(found[0], one, kind)
    own: dict[int, ShardResult] = {}
    for one in found:
        other = own.setdefault(one.shard.index, one)
        if other is not one:
            raise OutputError(
                f"shard {one.shard} is there twice, in '{in_message(other.folder)}' and in "
                f"'{in_message(one.folder)}'; name each shard once"
            )
    count = found[0].shard.count
    for index in range(count):
        if index not in own:
            raise OutputError(f"shard {index}/{count} is missing; run it, and name its folder too")
    return [own[index] for index in range(count)]


def _require_same(first: ShardResult, other: ShardResult, kind: str) -> None:
    """Raise OutputError if *other* is no shard of the run of *first*."""
    differing = [name for name in {**first.run, **other.run} if first.run.get(name) != other.run.get(name)]
    if first.shard.count != other.shard.count:
        differing = ["number of shards", *differing]
    if other.kind != kind:
        raise OutputError(
            f"'{in_message(other.folder)}' holds a shard of another kind, {other.kind}; merge those of one {kind}"
        )
    if differing:
        raise OutputError(
            f"'{in_message(other.folder)}' is a shard of another run than '{in_message(first.folder)}' (other "
            f"{', '.join(differing)}); merge the shards of one run"
        )


def left_out(shards: Sequence[ShardResult]) -> list[tuple[str, str]]:
    """Return the images that were left out, with the reasons, in their order; paths are those of the first shard."""
    found = []
    for shard in shards:
        for one in shard.left:
            path = shard.path_in(shards[0], one.picture)
            found.append((one.number, path, one.why.replace(one.picture, path)))
    return [(path, why) for _, path, why in sorted(found)]


def entries(
    shards: Sequence[ShardResult], images: int, each: int = 1
) -> Iterator[tuple[ShardResult, int, Mapping[str, Any]]]:
    """Yield shard, number and content of each entry in the journals of *shards*, shard by shard.

    Args:
        shards: All shards of a run.
        images: Number of images of the run, also of those that were left out, which have no entry.
        each: Number of entries of an image; those of image k have the numbers k, k + *images*, k + 2 *images*, …

    Raises:
        OutputError: a journal is damaged or of another run, or an entry is missing or there twice.
    """
    seen = bytearray(images * each)
    for shard in shards:
        path = shard.folder / JOURNAL
        lines = entries_of(path)
        if next(lines) != shard.journal:
            raise OutputError(f"'{in_message(path)}' is not the journal of the '{FILE}' beside it; {_AGAIN}")
        for entry in lines:
            _mark(seen, entry.get("number"), shard)
            yield shard, entry["number"], entry
        for one in shard.left:
            for number in range(one.number, len(seen), images):
                _mark(seen, number, shard)
    missing = seen.find(0)
    if missing >= 0:
        raise OutputError(
            f"{seen.count(0)} of {len(seen)} entries are missing, the first is that of image {missing % images}; run "
            "the shards again"
        )


def _mark(seen: bytearray, number: Any, shard: ShardResult) -> None:
    known = isinstance(number, int) and 0 <= number < len(seen)
    if not known or seen[number]:
        what = "is there twice" if known else "is not of this run"
        raise OutputError(f"entry {number} in the journal of shard {shard.shard} {what}; {_AGAIN}")
    seen[number] = 1
