"""Files that could run code, or touch other files, are refused before a framework reads them.

::

    trust             the refusal, archives that would fill the disk
    trust_torch       pickles, .pt2 archives, TorchScript
    trust_program     the strings of an exported program that PyTorch evaluates
    trust_keras       .keras and .h5
    trust_tensorflow  operations of SavedModels, frozen graphs and TFLite files

Each of them yields what it found, as words that follow "the file holds".
"""

from __future__ import annotations

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


def archive_members(path: Path) -> list[str]:
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
