"""The folder of a batch, on this machine or in other storage: whole files only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from onnxcam import files, paths
from onnxcam.batching.addresses import filesystem, is_remote, storage
from onnxcam.errors import OutputError
from onnxcam.text import in_message

__all__ = ["HEADER", "OURS", "LocalStore", "RemoteStore", "Store", "open_store"]

HEADER = "batch.json"
"""File that says what decides the rows; it is written first."""
OURS = re.compile(r"(?:batch|summary(?:-\d+-of-\d+)?)\.json|part-(?:\d+-of-\d+-)?\d+\.parquet|overlays")
"""Names of the files of a batch."""


class LocalStore:
    """A folder of this machine."""

    def __init__(self, folder: str) -> None:
        self.address = folder
        self._path = Path(folder)

    def names(self) -> list[str]:
        """Return the names of the files there, sorted."""
        return sorted(os.path.basename(path) for path in paths.entries(self._path))

    def path(self, name: str) -> str:
        """Return the address of the file *name*."""
        return str(self._path / name)

    def get(self, name: str) -> bytes:
        """Return the content of a file."""
        return paths.read_bytes(self._path / name, OutputError, "part of a batch", _MOST)

    def put(self, name: str, data: bytes) -> None:
        """Write a file: another process sees all of it, or nothing."""
        target = self._path / name
        with files.writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with files.drafted(target) as draft:
                draft.write_bytes(data)
                with draft.open("rb") as file:
                    os.fsync(file.fileno())

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and the folders among them."""
        for name in names:
            with files.writing(self._path / name):
                if (self._path / name).is_dir():
                    self.remove(f"{name}/{one}" for one in sorted(os.listdir(self._path / name)))
                    (self._path / name).rmdir()
                else:
                    (self._path / name).unlink(missing_ok=True)


class RemoteStore:
    """A folder of other storage, through fsspec. Its files appear whole, as object stores write them."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._system, self._path = filesystem(self.address)

    def names(self) -> list[str]:
        """Return the names of the files there, sorted."""
        with storage(self.address, OutputError):
            self._system.invalidate_cache()
            if not self._system.exists(self._path):
                return []
            found = self._system.ls(self._path, detail=False)
        return sorted(one.rstrip("/").rpartition("/")[2] for one in found)

    def path(self, name: str) -> str:
        """Return the address of the file *name*."""
        return f"{self.address}/{name}"

    def get(self, name: str) -> bytes:
        """Return the content of a file."""
        with storage(self.path(name), OutputError):
            return bytes(self._system.cat_file(f"{self._path}/{name}"))

    def put(self, name: str, data: bytes) -> None:
        """Write a file."""
        with storage(self.path(name), OutputError):
            self._system.pipe_file(f"{self._path}/{name}", data)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and the folders among them."""
        for name in names:
            with storage(self.path(name), OutputError):
                self._system.rm(f"{self._path}/{name}", recursive=True)


Store = LocalStore | RemoteStore

_MOST = 2**40


def open_store(address: str | os.PathLike[str]) -> Store:
    """Return the folder at *address*; OnnxcamError where its driver is not installed."""
    text = os.fspath(address)
    if is_remote(text):
        return RemoteStore(text)
    if paths.kind(text) in ("file", "special"):
        raise OutputError(f"{in_message(text)}: is no folder; choose another with -o")
    return LocalStore(text)
