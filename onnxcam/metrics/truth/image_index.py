"""Find an image among those of the truth: by its path as written, else by its file name if one image has it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Generic, TypeVar

from onnxcam.errors import TruthError
from onnxcam.text import in_message

__all__ = ["ImageIndex"]

Value = TypeVar("Value")


class ImageIndex(Generic[Value]):
    """Values by the paths of images.

    Args:
        entries: Path of each image as the truth writes it, and its value.
        where: Name of the truth, for messages.
        stems: Compare file names without their endings.

    Attributes:
        duplicates: Number of entries whose path an earlier entry has; the first one counts.
    """

    def __init__(self, entries: Iterable[tuple[str, Value]], where: str, *, stems: bool = False) -> None:
        self._where, self._stems = where, stems
        self._values: dict[str, Value] = {}
        self._by_name: dict[str, list[str]] = {}
        self.duplicates = 0
        for written, value in entries:
            self._add(self._path(written), value)

    def _add(self, path: str, value: Value) -> None:
        if path in self._values:
            self.duplicates += 1
            return
        self._values[path] = value
        self._by_name.setdefault(path.rpartition("/")[2], []).append(path)

    def _path(self, written: str | os.PathLike[str]) -> str:
        path = PurePosixPath(os.fspath(written).replace("\\", "/"))
        return str(path.with_suffix("") if self._stems and path.name else path)

    def __len__(self) -> int:
        return len(self._values)

    def find(self, picture: str | os.PathLike[str]) -> Value | None:
        """Return the value of *picture*; None if the truth does not have it, TruthError if several images fit."""
        path = self._path(picture)
        if path in self._values:
            return self._values[path]
        same = self._by_name.get(path.rpartition("/")[2], [])
        if len(same) > 1:
            same = [one for one in same if _ends(path, one) or _ends(one, path)] or same
        if len(same) > 1:
            raise TruthError(
                f"{self._where}: {len(same)} images are called {in_message(path.rpartition('/')[2])}; name the image "
                f"by its path as written there, such as {in_message(same[0])}"
            )
        return self._values[same[0]] if same else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        if not self.duplicates:
            return ()
        return (f"{self._where}: {self.duplicates} images are there twice; the first entry counts",)


def _ends(path: str, end: str) -> bool:
    return path.endswith("/" + end.lstrip("/"))
