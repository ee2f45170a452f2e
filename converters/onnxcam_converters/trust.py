"""Files that could run code, or touch other files, are refused before a framework reads them.

::

    trust             the refusal, what kind of file there is, archives that would fill the disk
    trust_torch       pickles, .pt2 archives, TorchScript
    trust_program     the strings of an exported program that PyTorch evaluates
    trust_keras       .keras and .h5
    trust_tensorflow  operations of SavedModels, frozen graphs and TFLite files

Each of them yields what it found, as words that follow "the file holds".
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from onnxcam.errors import ConversionError

LARGEST = 64 << 30
"""Bytes that an archive may unpack to."""
DENSE = 256 << 20
"""Bytes from which on an archive must not be packed more densely than `RATIO`."""
RATIO = 100


def refuse_code(path: Path, found: Iterable[str], unsafe: bool) -> None:
    """Raise ConversionError with the first of *found*, what could run code in the file at *path*, unless *unsafe*."""
    first = None if unsafe else next(iter(found), None)
    if first is not None:
        raise ConversionError(f"'{path}' holds {first}; give --unsafe-pickle if you trust whoever made the file")


def exists(path: Path) -> bool:
    """Whether anything lies at *path*; ConversionError where that cannot be found out (a name too long, say)."""
    return _mode(path) is not None


def regular(path: Path, what: str) -> None:
    """Raise ConversionError unless *path* is a file that can be read to its end: no folder, no pipe, no device."""
    mode = _mode(path)
    if mode is None:
        raise ConversionError(f"{what} '{path}' does not exist; check the name")
    if stat.S_ISDIR(mode):
        raise ConversionError(f"{what} '{path}' is a folder; give a file")
    if not stat.S_ISREG(mode):
        raise ConversionError(f"{what} '{path}' is a pipe or a device; give a file")
    if not os.access(path, os.R_OK):
        raise ConversionError(f"{what} '{path}' cannot be read: permission denied")


def _mode(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        name = f"{str(path)[:60]}…" if len(str(path)) > 60 else str(path)
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConversionError(f"{name!r} cannot be read: {reason}; check the name") from None


def members(path: Path) -> list[str]:
    """Return the names in the zip archive at *path*, none where it is no archive; refuse bombs and deceptive names."""
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
    """Raise ConversionError where the file at *path* unpacks to *size* bytes, more than any model."""
    if size > LARGEST or (size > DENSE and size > RATIO * path.stat().st_size):
        raise ConversionError(
            f"'{path}' says that it unpacks to {size / (1 << 30):,.1f} GiB, as no model does; check where it is from"
        )


def _refuse_names(path: Path, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
    outside = [name for name in names if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/")]
    for what, which in (("two members called", twice), ("a member outside its folder,", outside)):
        if which:
            raise ConversionError(f"'{path}' has {what} {which[0]!r}, as no framework writes it; export it again")
