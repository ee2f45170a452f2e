"""Find image files by name: a file, a folder, a pattern, or a list of any of these."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from onnxcam import paths
from onnxcam.errors import ImageError
from onnxcam.media import dicom, volume
from onnxcam.text import in_message

__all__ = ["MAX_DEPTH", "MAX_FILES", "OF_NUMBERS", "SUFFIXES", "files"]

SUFFIXES: tuple[str, ...] = (
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".gif",
)
SUFFIXES += (".jfif", ".jpe", ".jp2", ".avif", ".heic", ".heif", ".dib")
"""Suffixes of image files, in lower or upper case; other files of a folder are ignored.

OpenCV cannot read some of these formats: such files are reported by name and not passed over in silence.
"""

OF_NUMBERS = (".wav", ".csv", ".tsv", ".npy", ".npz")
"""Suffixes of files of signals and other arrays, which are taken from a folder without images."""

_DOUBLE = "._"
"""The prefix of the files in which macOS keeps attributes of others: ``._photo.jpg`` is no image."""

MAX_FILES = 2**22
"""More images are refused: a few lists that name each other can expand to any number."""
MAX_DEPTH = 16
"""The largest depth of lists that name lists."""

_ListKey: TypeAlias = "tuple[str, str]"


def files(sources: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the image files that *sources* name, in their order, each as often as it is named.

    A source is a file; a folder, whose image files (`SUFFIXES`; without images those of signals and volumes), also in
    subfolders, are taken in sorted order; the folder of a DICOM series, which is one volume; a pattern such as
    ``"photos/**/*.jpg"``; or a list, a text file with one source per line, as ``"list.txt"`` or ``"@list"``, whose
    names may be relative to its folder. Files are not opened, but to tell a DICOM series.

    Raises:
        ImageError: a source does not exist, a list names itself, or there are no files or more than `MAX_FILES`.

    Example:
        >>> files(["photos", "more/*.png", "@list"])
    """
    finder = _SourceResolver()
    found = _joined((finder.named(os.fspath(source)) for source in sources), "the names together")
    if not found:
        raise ImageError("no image is named; give files, a folder, a pattern or a list that names some")
    return found


class _SourceResolver:
    """Resolves sources; reads each list once."""

    def __init__(self) -> None:
        self._read: dict[_ListKey, list[str]] = {}
        self._open: list[_ListKey] = []

    def named(self, source: str, beside: Path | None = None) -> list[str]:
        if source.startswith("@") and paths.kind(source) == "missing":
            return self._listed(Path(source[1:]))
        path = Path(source)
        if beside is not None and paths.kind(path) == "missing":
            path = beside / path
        kind = paths.kind(path)
        if kind == "missing" and paths.is_address(source):
            raise ImageError(f"{in_message(source)}: is an address; `onnxcam batch` reads pictures from addresses")
        if kind == "folder":
            return _in_folder(path)
        if kind == "special":
            paths.check_file(path, ImageError, "image or list")
        if kind == "file":
            return self._listed(path) if path.suffix.lower() == ".txt" else [str(path)]
        found = _joined(([name] for name in _matches(str(path))), source) if glob.has_magic(str(path)) else []
        if not found and beside is None:
            what = "no file is called like this" if glob.has_magic(source) else "no such file or folder"
            raise ImageError(f"{in_message(source)}: {what}; check the name")
        return sorted(found) or [source]  # one wrong name in a list is reported when it is read

    def _listed(self, path: Path) -> list[str]:
        paths.check_file(path, ImageError, "list of images")
        key = os.path.realpath(path), os.path.realpath(path.parent)
        if key in self._open:
            raise ImageError(f"{in_message(path)}: the list names itself, or a list that names it; take that line out")
        if len(self._open) == MAX_DEPTH:
            raise ImageError(
                f"{in_message(path)}: lists name lists more than {MAX_DEPTH} deep; put the names into one list"
            )
        if key not in self._read:
            self._open.append(key)
            text = paths.read_text(path, ImageError, "list of images")
            if "\0" in text:
                raise ImageError(f"{in_message(path)}: is no list of images, which is text with a file name a line")
            lines = text.splitlines()
            named = (self.named(line.strip(), path.parent) for line in lines if line.strip())
            self._read[key] = _joined(named, path)
            self._open.pop()
        return self._read[key]


def _joined(parts: Iterable[list[str]], where: str | os.PathLike[str]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if len(found) + len(part) > MAX_FILES:
            raise ImageError(f"{in_message(where)}: more than {MAX_FILES} images are named; name fewer at a time")
        found += part
    return found


def _in_folder(folder: Path) -> list[str]:
    names = [name for name in paths.below(folder, broken=True) if _ends(name, (*SUFFIXES, *OF_NUMBERS, *volume.NIFTI))]
    images = [name for name in names if _ends(name, SUFFIXES)]
    found = sorted(_joined(([name] for name in images or names), folder))
    if not found and dicom.has_series(folder):
        return [str(folder)]
    if not found:
        raise ImageError(
            f"{in_message(folder)}: the folder has no image, signal or volume; there is no file in it that ends with "
            ".png, .jpg, .wav, .csv, .npy or .nii.gz, and no DICOM slice"
        )
    return found


def _ends(path: str, suffixes: tuple[str, ...]) -> bool:
    name = os.path.basename(path)
    return name.lower().endswith(suffixes) and not name.startswith(_DOUBLE)


def _matches(pattern: str) -> Iterator[str]:
    """Yield the files that match *pattern*, as `glob` does, but visit each folder once, even through links."""
    anchor, seen = Path(pattern).anchor, set()
    rest = [(anchor, tuple(Path(pattern).parts[bool(anchor) :]))]
    while rest:
        folder, (first, *parts) = rest.pop()
        key = _identity(folder), first, *parts
        if key in seen:
            continue
        seen.add(key)
        if first == "**":
            rest.append((folder, tuple(parts) or ("*",)))
            rest += [(inner, ("**", *parts)) for inner in _inside(folder, "*", "folder")]
        elif parts:
            rest += [(inner, tuple(parts)) for inner in _inside(folder, first, "folder")]
        else:
            yield from _inside(folder, first, "file")


def _inside(folder: str, pattern: str, kind: paths.Kind) -> list[str]:
    """Return the entries of *kind* in *folder* that match *pattern*; hidden ones only for a pattern with a dot."""
    if not glob.has_magic(pattern):
        names = [pattern]
    else:
        names = fnmatch.filter((os.path.basename(path) for path in paths.entries(folder)), pattern)
        names = [name for name in names if pattern.startswith(".") or not name.startswith(".")]
    inside = (os.path.join(folder, name) for name in names)
    return [path for path in inside if paths.kind(path) == kind]


def _identity(folder: str) -> object:
    try:
        found = os.stat(folder or ".")
    except (OSError, ValueError):
        return folder
    return found.st_dev, found.st_ino
