"""Tensors in PyTorch's archives whose numbers are not all there: PyTorch would read past the end of what is."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxcam.errors import ConversionError
from onnxcam_converters.quiet import without_warnings


def refuse_truncated(path: Path) -> None:
    """Raise ConversionError where a tensor in the archive at *path* has more numbers than its record holds."""
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
                raise ConversionError(f"'{path}' is torn: {record!r} has {held} of {count} bytes; fetch it again")


def _storages(pickled: bytes) -> Iterator[tuple[str, int]]:
    """Yield the record and the bytes of each tensor that a pickle asks for."""
    unpickler = _StorageReader(io.BytesIO(pickled))
    try:
        with without_warnings(()):  # PyTorch deprecates the classes that its own files name
            unpickler.load()
    except Exception:  # PyTorch says what is wrong
        return
    for asked in unpickler.asked:
        if len(asked) >= 5 and isinstance(asked[4], int):
            yield str(asked[2]), asked[4] * getattr(asked[1], "itemsize", 1)


class _Inert:
    """Stands for every class and function: it does nothing, whatever it is called with."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None:
        """Add nothing."""

    def extend(self, values: Any) -> None:
        """Add nothing."""


class _StorageReader(pickle.Unpickler):
    """Reads a pickle without running anything, and keeps which storages it asks for."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.asked: list[tuple[Any, ...]] = []

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that does nothing, with the size of its elements if it is a storage."""
        import torch

        dtype = getattr(getattr(torch, name, None), "dtype", None) if name.endswith("Storage") else None
        return type(name, (_Inert,), {"itemsize": getattr(dtype, "itemsize", 1)})

    def persistent_load(self, pid: Any) -> Any:
        """Write down what is asked for."""
        self.asked.append(pid)
        return _Inert()
