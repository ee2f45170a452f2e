"""The form of a truth's reader: what it finds in a file or folder, and what it says about an image."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from onnxcam import paths
from onnxcam.errors import TruthError
from onnxcam.metrics.truth.annotation import Annotation
from onnxcam.metrics.truth.image_index import ImageIndex
from onnxcam.text import in_message

__all__ = ["TruthPath", "TruthSource", "read_json"]


_TOO_LARGE = "keep the annotations of the images that you compare, and leave out the others"


class TruthPath:
    """A file or folder that holds truth; its content is read once."""

    def __init__(self, path: Path) -> None:
        self.path, self.kind = path, paths.kind(path)
        self.ending = path.suffix.lower() if self.kind == "file" else ""

    @cached_property
    def json(self) -> Any:
        """Content of a JSON file; TruthError if it is none."""
        return read_json(self.path)

    @cached_property
    def text(self) -> str:
        """Text of a file."""
        return paths.read_text(self.path, TruthError, "truth")

    def files(self, *endings: str) -> list[Path]:
        """Return the files in the folder with one of *endings*, sorted by name."""
        return [path for path in self._entries if path.suffix.lower() in endings and paths.kind(path) == "file"]

    def folders(self) -> list[Path]:
        """Return the folders in the folder, sorted by name."""
        return [path for path in self._entries if not path.name.startswith(".") and paths.kind(path) == "folder"]

    @cached_property
    def _entries(self) -> list[Path]:
        return sorted(map(Path, paths.entries(self.path))) if self.kind == "folder" else []


class TruthSource(ABC):
    """Truth in one format.

    Attributes:
        format: Name of the format.
        title: What the format looks like, in few words.
        names: Names of all classes in the order of their indices; None if the truth does not say.
        notes: What the user should know: what was read, what was left out.
        locates: Whether there are boxes or masks.
        single: Whether there is one image.
    """

    format: ClassVar[str]
    title: ClassVar[str]
    names: Sequence[str] | None = None
    notes: tuple[str, ...] = ()
    locates: bool = True
    single: bool = False
    _images: ImageIndex[Any]

    def __init__(self, place: TruthPath) -> None:
        self.path = place.path

    @classmethod
    @abstractmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether *place* holds this format."""

    @abstractmethod
    def annotation(self, picture: Path, size: tuple[int, int]) -> Annotation | None:
        """Return what the truth says about *picture* of *size* (H, W); None if it does not have this image."""

    def has(self, picture: Path) -> bool:
        """Return whether the truth has *picture*."""
        return self.single or self._images.find(picture) is not None

    def missing(self, picture: Path) -> str:
        """Return the message for an image that the truth does not have."""
        return f"{self.path}: no entry for {in_message(picture.name)}; leave this image out"

    def _where(self, picture: str | os.PathLike[str]) -> str:
        return f"{self.path}: {in_message(Path(picture).name)}"


_GROWTH = 8
"""Memory that the content of a JSON file takes, relative to the file: measured, 7.2 for COCO's polygons."""


def read_json(path: Path) -> Any:
    """Return the content of the JSON file at *path*; its size is limited by the memory of the machine alone."""
    most = max(paths.MAX_TEXT, _memory() // _GROWTH)
    try:
        _check_size(path, most)
        return json.loads(paths.read_text(path, TruthError, "truth", most))
    except MemoryError:
        raise TruthError(f"truth '{in_message(path)}' needs more memory than there is: {_TOO_LARGE}") from None
    except json.JSONDecodeError as error:
        why = f"it breaks off or is damaged in line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        why = "it has a number that is too long, or lists nested too deep"
    raise TruthError(f"truth '{in_message(path)}' is no JSON: {why}") from None


def _check_size(path: Path, most: int) -> None:
    """Raise TruthError if the file at *path* is larger than *most* bytes."""
    size = path.stat().st_size if paths.kind(path) == "file" else 0
    if size > most:
        needed, there = (f"{count / 2**30:.1f} GB" for count in (size * _GROWTH, _memory()))
        raise TruthError(f"truth '{in_message(path)}' needs {needed} of memory, the machine has {there}: {_TOO_LARGE}")


def _memory() -> int:
    """Return the memory of the machine in bytes; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 0
