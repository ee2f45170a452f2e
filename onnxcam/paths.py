"""Read files safely: kind of a path, and its content up to a size limit. Pipes and devices are never opened."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from onnxcam.errors import OnnxcamError
from onnxcam.text import in_message

__all__ = [
    "MAX_TEXT",
    "Kind",
    "PathLike",
    "below",
    "check_file",
    "entries",
    "is_address",
    "kind",
    "left_out",
    "naming",
    "opened",
    "read_bytes",
    "read_text",
    "stem",
]

Kind: TypeAlias = Literal["file", "folder", "missing", "special"]
PathLike: TypeAlias = "str | os.PathLike[str]"

MAX_TEXT = 2**28
"""Maximum size in bytes of a text file (labels, a list, JSON)."""

_SPECIAL = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def is_address(path: PathLike) -> bool:
    """Whether *path* names other storage, such as ``s3://bucket/name``; also after `Path` joined its slashes."""
    return _ADDRESS.match(os.fspath(path).replace(os.sep, "/")) is not None


_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")  # one letter is a drive of Windows


def stem(path: PathLike) -> str:
    """Return the name of a file without its suffix; of a compressed one, such as ``scan.nii.gz``, without both."""
    name = Path(path)
    return name.name.removesuffix("".join(name.suffixes[-2:])) if name.suffix == ".gz" else name.stem


def kind(path: PathLike) -> Kind:
    """Return the kind of *path*; ``"missing"`` also for invalid names and without permission."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return "missing"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "special"


def check_file(path: PathLike, error: type[OnnxcamError], what: str = "file") -> None:
    """Raise *error* if *path* is no readable regular file; the message calls it *what*."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as found:
        raise error(_unreadable(path, found)) from None
    if stat.S_ISDIR(mode):
        raise error(f"{in_message(path)}: is a folder, not {_one(what)}; name a file in it")
    if not stat.S_ISREG(mode):
        special = _SPECIAL.get(stat.S_IFMT(mode), "no regular file")
        raise error(f"{in_message(path)}: is {special}, not {_one(what)}; give a file")
    if not os.access(path, os.R_OK):
        raise error(_unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES))))


@contextmanager
def opened(path: PathLike, error: type[OnnxcamError], what: str = "file") -> Iterator[BinaryIO]:
    """Open the regular file at *path* for reading; raise *error* if there is none, or reading fails."""
    check_file(path, error, what)
    try:
        with open(os.open(path, _FLAGS), "rb") as file:
            yield file
    except OSError as found:
        raise error(_unreadable(path, found)) from None


def read_bytes(path: PathLike, error: type[OnnxcamError], what: str = "file", limit: int = MAX_TEXT) -> bytes:
    """Return the content of a file; raise *error* if it is no readable file or larger than *limit* bytes."""
    with opened(path, error, what) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            data = b"" if size > limit else file.read(size + 1)
        except MemoryError:
            raise error(f"{in_message(path)}: not enough memory to read the {size} bytes of the {what}") from None
    if max(size, len(data)) > limit:
        raise error(f"{in_message(path)}: the {what} is above the limit of {limit} bytes; give a smaller one")
    return data


_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""Flags for opening; a file that was replaced by a pipe after the check does not block."""


def read_text(path: PathLike, error: type[OnnxcamError], what: str = "file", limit: int = MAX_TEXT) -> str:
    """Return the text of a file, see `read_bytes`; raise *error* if it is not UTF-8."""
    try:
        return read_bytes(path, error, what, limit).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{in_message(path)}: the {what} is not text in UTF-8; save it as that") from None


def entries(folder: PathLike) -> list[str]:
    """Return the paths of the entries of *folder* ("" is the current one); empty if it cannot be listed."""
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder or ".")]
    except (OSError, ValueError):
        return []


def below(folder: PathLike, *, broken: bool = False) -> Iterator[str]:
    """Yield the files in *folder* and its subfolders, and *broken* links. Links to folders are not followed."""
    rest = ["" if os.fspath(folder) == "." else os.fspath(folder)]
    while rest:
        for path in entries(rest.pop()):
            found = kind(path)
            if found == "file" or (broken and found == "missing" and os.path.islink(path)):
                yield path
            elif found == "folder" and not os.path.islink(path):
                rest.append(path)


def _one(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"


def _unreadable(path: PathLike, error: OSError | ValueError) -> str:
    """Return the message for a path that cannot be read."""
    number = error.errno if isinstance(error, OSError) else None
    if is_address(path):
        return (
            f"{in_message(path)}: is an address, and this command reads files of this machine; download it first "
            "(docs/hub.md: models of hf:// are downloaded)"
        )
    if number == errno.ENOENT:
        return f"{in_message(path)}: no such file; check the name"
    if number in (errno.EACCES, errno.EPERM):
        return f"{in_message(path)}: cannot be read ({_why(error)}); check the file's permissions"
    return f"{in_message(path)}: cannot be read ({_why(error)}); check the name"


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def naming(path: str, error: str) -> str:
    """Return the message *error* about the file *path*, or its frame ``clip.mp4#3``, with the name if it says none."""
    name = re.sub(r"#\d+$", "", Path(path).name)
    return error if name in error else f"{path}: {error}"


def left_out(failed: Iterable[tuple[str, str]]) -> list[str]:
    """Return a warning for each file that was left out; *failed* are paths and their errors."""
    return [f"left out: {naming(path, error)}" for path, error in failed]
