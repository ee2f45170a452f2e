"""Write files atomically; never overwrite an input or, unless asked, a file that onnxcam did not write.

All files are written here, except those of `onnxcam.compare.device_runner`, which runs without onnxcam, and of
`onnxcam.journal`, which appends.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from onnxcam.errors import OutputError
from onnxcam.paths import PathLike, is_address
from onnxcam.text import in_message

__all__ = [
    "OPERATORS",
    "OURS",
    "WRITTEN",
    "OutputFolder",
    "StagedFolder",
    "abandon",
    "drafted",
    "is_ours",
    "is_same",
    "refuse_finished",
    "require_local",
    "require_place",
    "require_writable",
    "staged",
    "temporary",
    "write",
    "write_together",
    "writing",
]

OURS = "onnxcam."
"""Prefix of metadata keys in each ``.onnx`` file that onnxcam wrote."""
WRITTEN = OURS + "version"
OPERATORS = "# Written by onnxcam"
"""First line of an operator list."""

_INTO = "into output folder "
_drafts: set[Path] = set()
_folders: set[OutputFolder] = set()


@contextmanager
def staged(path: PathLike, inputs: Iterable[PathLike] = (), *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a draft file next to *path*. It replaces *path* if the block succeeds; otherwise it is removed.

    Args:
        path: File to write.
        inputs: Files that are read; *path* must not be one of them, under any name.
        overwrite: Also replace a file that onnxcam did not write (`is_ours`).

    Raises:
        OutputError: *path* is an input, a folder or a file of other origin, or it cannot be written.

    Example:
        >>> with staged("out.txt") as draft:
        ...     draft.write_text("done")
    """
    target = Path(path)
    require_writable(target, inputs, overwrite=overwrite)
    with writing(target), drafted(target) as draft:
        yield draft


@contextmanager
def drafted(target: Path, name: str = "") -> Iterator[Path]:
    """Yield a draft as `staged` does, without checks of *target*; errors are raised as OSError.

    A fixed *name* lets the next run replace a draft that a killed run left behind.
    """
    draft = target.with_name(
        f".onnxcam-{name or uuid.uuid4().hex[:8]}"
    )  # a file of tempfile would be readable by its owner only
    _drafts.add(draft)
    try:
        yield draft
        os.replace(draft, target)
    except BaseException:
        _remove(draft)
        raise
    finally:
        _drafts.discard(draft)


def write_together(files: Mapping[Path, bytes], first: Callable[[], None] | None = None) -> None:
    """Write *files* atomically: all of them, or none where one cannot be written. OutputError.

    *first* is called when all are written, before one appears.
    """
    with ExitStack() as drafts:
        for target, data in files.items():
            drafts.enter_context(writing(target))
            drafts.enter_context(drafted(target)).write_bytes(data)
        if first is not None:
            first()


def write(path: PathLike, data: bytes | str, inputs: Iterable[PathLike] = (), *, overwrite: bool = False) -> None:
    """Write *data* to *path* atomically, see `staged`."""
    with staged(path, inputs, overwrite=overwrite) as draft:
        draft.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "backslashreplace"))


def require_local(path: PathLike) -> None:
    """Raise OutputError if *path* is an address of other storage, which would become a folder called ``s3:``."""
    if is_address(path):
        raise OutputError(
            f"'{in_message(path)}' is an address, and this command writes to this machine; `onnxcam batch` writes to "
            "addresses"
        )


def require_writable(
    path: Path, inputs: Iterable[PathLike] = (), *, overwrite: bool = False, option: str = "-o"
) -> None:
    """Raise OutputError if *path* is one of *inputs*, a folder, a special file, or a file of other origin.

    *option* is the one that names it.
    """
    require_local(path)
    if any(is_same(path, read) for read in inputs):
        raise OutputError(
            f"'{path}' is read by this command, so it cannot be its output; choose another name with {option}"
        )
    if os.path.isdir(path) or not path.name:
        raise OutputError(f"'{path}' is a folder; name the file to write with {option}")
    there = os.path.exists(path)  # unlike Path.exists, no error for a name that is too long
    if there and not os.path.isfile(path):
        raise OutputError(f"'{path}' is no plain file; choose another name with {option}")
    if there and not overwrite and not is_ours(path):
        raise OutputError(f"'{path}' exists and was not written by onnxcam; choose another name, or give --overwrite")


def refuse_finished(folder: PathLike, index: str, what: str, *, overwrite: bool = False, option: str = "-o") -> None:
    """Raise OutputError if *folder* holds *what*, such as "an audit", of an earlier run: it has that run's *index*.

    So a second run never replaces the results of a first one, unless *overwrite*.
    """
    if not overwrite and is_ours(Path(folder) / index):
        raise OutputError(f"'{folder}' holds {what}; choose another folder with {option}, or --overwrite that one")


def require_place(path: PathLike, *, folder: bool = False, option: str = "-o") -> None:
    """Raise OutputError if *path* cannot be made there: before a long search, not after it.

    The folder of a file must exist; a *folder* is made with its parents. *option* is the one that names it.
    """
    require_local(path)
    target = Path(path)
    places = (target, *target.parents) if folder else (target.parent,)
    place = next((one for one in places if os.path.exists(one)), None)
    with writing(target, _INTO if folder else "", option):
        if place is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not os.path.isdir(place):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def writing(path: PathLike, what: str = "", option: str = "-o") -> Iterator[None]:
    """Turn OSError into OutputError; *what* precedes *path* in the message, and *option* is the one that names it."""
    try:
        yield
    except OSError as error:
        why = error.strerror or "only a part of it could be written; is the disk full?"
        raise OutputError(f"cannot write {what}'{path}': {why}; choose another with {option}") from None


@contextmanager
def temporary(draft: Path) -> Iterator[None]:
    """Remove the file or folder *draft* at the end of the block, also if a signal ends the process."""
    _drafts.add(draft)
    try:
        yield
    finally:
        _remove(draft)
        _drafts.discard(draft)


def abandon() -> None:
    """Remove all drafts, before the process exits without cleanup."""
    for folder in list(_folders):
        folder.clear()
    for draft in list(_drafts):
        _remove(draft)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


class OutputFolder:
    """Folder that a ``with`` block writes. Files with the same names are replaced if onnxcam wrote its *index*.

    Other files in the folder are kept. A folder that was created here and stays empty is removed.

    Args:
        path: Folder; created if missing.
        index: File that is written last.
        overwrite: Replace files with the same names in any folder.

    Raises:
        OutputError: the folder cannot be written, or holds files of other origin with the same names.
    """

    def __init__(self, path: PathLike, index: str, *, overwrite: bool = False) -> None:
        self.path, self.index, self.overwrite = Path(path), index, overwrite

    def __enter__(self) -> Self:
        require_local(self.path)
        self._made = [one for one in (self.path, *self.path.parents) if not os.path.exists(one)]
        _folders.add(self)
        try:
            self._open()
        except BaseException:
            self.clear()
            raise
        return self

    def _open(self) -> None:
        """Create the folder."""
        with writing(self.path, _INTO):
            self.path.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Remove the empty folders created here."""
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()
        _folders.discard(self)

    @property
    def _replaceable(self) -> bool:
        """Whether files in the folder may be replaced."""
        return self.overwrite or is_ours(self.path / self.index)

    def require_replaceable(self, names: Iterable[str]) -> None:
        """Raise OutputError for the first of *names* that exists in the folder and may not be replaced."""
        if not self._replaceable:
            self._require_free(names)

    def _require_free(self, names: Iterable[str]) -> None:
        """Raise OutputError for the first of *names* that exists in the folder."""
        taken = next((name for name in names if os.path.lexists(self.path / name)), None)
        if taken is not None:
            raise OutputError(
                f"'{self.path}' holds '{taken}', which onnxcam did not write; "
                "choose another folder with -o, or give --overwrite"
            )


class StagedFolder(OutputFolder):
    """Folder whose new files appear together if the ``with`` block succeeds, otherwise not at all.

    Files are staged in the subfolder ``staging``; the index is moved into place last.
    """

    def _open(self) -> None:
        self.staging = self.path / f".onnxcam-{uuid.uuid4().hex[:8]}"
        with writing(self.path, _INTO):
            self.staging.mkdir(parents=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            self.clear()

    def clear(self) -> None:
        """Remove the staged files, and the empty folders created here."""
        _remove(self.staging)
        super().clear()

    def _publish(self) -> None:
        new = sorted(self.staging.iterdir(), key=lambda file: (file.name == self.index, file.name))
        self.require_replaceable(file.name for file in new)
        with writing(self.path, _INTO):
            for file in new:
                _move(file, self.path / file.name)


def _move(new: Path, target: Path) -> None:
    """Move a file, or the files of a folder, to *target*."""
    if not new.is_dir():
        os.replace(new, target)
        return
    target.mkdir(exist_ok=True)
    for file in new.iterdir():
        _move(file, target / file.name)


def is_same(one: PathLike, other: PathLike) -> bool:
    """Whether two paths are the same file, also through links."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return os.path.realpath(one) == os.path.realpath(other)


def is_ours(path: Path) -> bool:
    """Whether onnxcam wrote the file, by the mark in each kind of its files."""
    try:
        return path.is_file() and _MARKS.get(path.suffix.lower(), _is_our_text)(path)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile):
        return False


def _is_our_model(path: Path) -> bool:
    from onnxcam.wire import metadata

    return any(key.startswith(OURS) for key in metadata(path))


def _is_our_pack(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return {"pack.json", "run.py"} <= set(archive.namelist())


def _is_our_data(path: Path) -> bool:
    """Whether *path* is ``x.onnx.data`` of an ``x.onnx`` that onnxcam wrote."""
    return is_ours(path.with_suffix(""))


def _is_our_json(path: Path) -> bool:
    """Whether *path* is a manifest, or a result with the version of onnxcam."""
    found = json.loads(path.read_text("utf-8"))
    if isinstance(found, dict):
        return "onnxcam" in found or str(found.get("format", "")).startswith("onnxcam")
    return isinstance(found, list) and bool(found) and all(_is_entry(one) for one in found)


def _is_our_journal(path: Path) -> bool:
    """Whether *path* begins as the journal of an interrupted run."""
    with path.open("rb") as file:
        return file.read(16).startswith(b'{"onnxcam.')


def _is_our_report(path: Path) -> bool:
    """Whether *path* names onnxcam near its beginning, as report.html, junit.xml, summary.md and sheets do."""
    with path.open("rb") as file:
        return b"onnxcam" in file.read(2048)


def _is_entry(one: object) -> bool:
    """Whether *one* is an entry of an explanation, or of an image that could not be explained."""
    found = one.keys() if isinstance(one, dict) else set()
    return {"image", "method", "map", "overlay"} <= found or found == {"image", "error"}


def _is_our_pdf(path: Path) -> bool:
    return b"/Creator (onnxcam" in path.read_bytes()


def _is_our_text(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(OPERATORS)) == OPERATORS.encode()


_MARKS: dict[str, Callable[[Path], bool]] = {
    ".onnx": _is_our_model,
    ".data": _is_our_data,
    ".zip": _is_our_pack,
    ".json": _is_our_json,
    ".jsonl": _is_our_journal,
    ".html": _is_our_report,
    ".xml": _is_our_report,
    ".md": _is_our_report,
    ".pdf": _is_our_pdf,
    ".png": _is_our_report,
    ".svg": _is_our_report,
}
