"""Refuse files that could run code or touch other files, before a framework reads them.

::

    code_scan                the refusal; archives that would fill the disk
    code_scan_torch          pickles, .pt2 archives, TorchScript
    code_scan_torch_program  strings of an exported program that PyTorch evaluates
    code_scan_keras          .keras and .h5
    code_scan_tensorflow     operations of SavedModels, frozen graphs and TFLite files

Each scan yields its findings as text that follows "the file holds".
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from onnxcam.errors import ConversionError

__all__ = ["archive_members", "refuse_bomb", "refuse_code"]

_LARGEST = 64 << 30
"""Largest unpacked size of an archive, in bytes."""
_DENSE_FROM = 256 << 20
"""Unpacked size in bytes above which the compression ratio may not exceed `_LARGEST_RATIO`."""
_LARGEST_RATIO = 100


def refuse_code(path: Path, found: Iterable[str], unsafe: bool) -> None:
    """Raise ConversionError with the first finding in the file at *path*, unless *unsafe*."""
    first = None if unsafe else next(iter(found), None)
    if first is not None:
        raise ConversionError(f"'{path}' holds {first}; use --unsafe-pickle if you trust its author")


def archive_members(path: Path) -> list[str]:
    """Return the names in the zip archive at *path*; empty if it is no archive.

    Raises:
        ConversionError: The archive unpacks to too much, has a name twice, or a name outside its folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return []
    except OSError as error:
        raise ConversionError(f"'{path}' cannot be read: {error.strerror}") from None
    names = [info.filename for info in infos]
    refuse_bomb(path, sum(info.file_size for info in infos))
    _refuse_names(path, names)
    return names


def refuse_bomb(path: Path, size: int) -> None:
    """Raise ConversionError if *size*, the unpacked bytes of the file at *path*, is larger than any model."""
    if size > _LARGEST or (size > _DENSE_FROM and size > _LARGEST_RATIO * path.stat().st_size):
        raise ConversionError(
            f"'{path}' claims to unpack to {size / (1 << 30):,.1f} GiB, more than any model; check its origin"
        )


def _refuse_names(path: Path, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
    outside = [name for name in names if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/")]
    for what, which in (("two members called", twice), ("a member outside its folder,", outside)):
        if which:
            raise ConversionError(f"'{path}' has {what} {which[0]!r}, which no framework writes; export it again")
