"""Refuse PyTorch archives with truncated tensors: PyTorch would read beyond the end of their data."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxcam.errors import ConversionError
from onnxcam_converters.quiet import without_warnings

__all__ = ["refuse_truncated"]


def refuse_truncated(path: Path) -> None:
    """Raise ConversionError if a tensor in the archive at *path* needs more bytes than its record has."""
    import torch

    try:
        reader: Any = torch._C.PyTorchFileReader(str(path))
    except RuntimeError:  # no archive
        return
    names = set(reader.get_all_records())
    for pickled in names & {"data.pkl", "constants.pkl"}:
        for key, count in _storages(bytes(reader.get_record(pickled))):
            record = f"{pickled.removesuffix('.pkl')}/{key}"
            held = reader.get_record_size(record) if record in names else 0
            if held < count:
                raise ConversionError(f"'{path}' is truncated: {record!r} has {held} of {count} bytes; fetch it again")


def _storages(pickled: bytes) -> Iterator[tuple[str, int]]:
    """Yield the record and the size in bytes of each storage that a pickle refers to."""
    unpickler = _StorageReader(io.BytesIO(pickled))
    try:
        with without_warnings(()):  # PyTorch warns about classes that its own files use
            unpickler.load()
    except Exception:  # PyTorch reports what is wrong
        return
    for storage in unpickler.storages:
        if len(storage) >= 5 and isinstance(storage[4], int):
            yield str(storage[2]), storage[4] * getattr(storage[1], "itemsize", 1)


class _Inert:
    """Substitute for every class and function of the pickle; does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None:
        """Do nothing."""

    def extend(self, values: Any) -> None:
        """Do nothing."""


class _StorageReader(pickle.Unpickler):
    """Reads a pickle without running code, and records the storages that it refers to."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: list[tuple[Any, ...]] = []

    def find_class(self, module: str, name: str) -> Any:
        """Return an inert class; for a storage it carries the size of an element in bytes."""
        import torch

        dtype = getattr(getattr(torch, name, None), "dtype", None) if name.endswith("Storage") else None
        return type(name, (_Inert,), {"itemsize": getattr(dtype, "itemsize", 1)})

    def persistent_load(self, pid: Any) -> Any:
        """Record the storage."""
        self.storages.append(pid)
        return _Inert()
