"""The process of a user's engine: reads tensors, calls the function, writes what it returns.

`onnxcam.compare.external_runner` starts it as ``python -m onnxcam.compare.external_worker module:function``. Its frames
(`onnxcam.child_process`) are arrays as .npz (``A``), or the text of an error (``E``).
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.child_process import read_frame, serving, write_frame

__all__ = ["ARRAYS", "ERROR", "main", "packed", "unpacked"]

ARRAYS, ERROR = b"A", b"E"


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as .npz; their names may be any text."""
    buffer = io.BytesIO()
    names = [name.encode() for name in arrays]
    lengths = np.array([len(name) for name in names], np.int64)
    text = np.frombuffer(b"".join(names), np.uint8)
    np.savez(buffer, text, lengths, *arrays.values())
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    """Return arrays by name, the inverse of `packed`."""
    with np.load(io.BytesIO(data)) as file:
        text, lengths, *arrays = (file[name] for name in file.files)
    ends = np.cumsum(lengths)
    names = [text[end - length : end].tobytes().decode() for end, length in zip(ends, lengths, strict=True)]
    return dict(zip(names, arrays, strict=True))


def main(spec: str) -> None:
    """Serve the function *spec*, ``module:function`` or ``file.py:function``, until standard input ends."""
    given, answers = serving()
    try:
        function = _function(spec)
    except BaseException as error:
        write_frame(answers, ERROR, _words(error).encode())
        return
    write_frame(answers, ARRAYS, packed({}))
    while (frame := read_frame(given)) is not None:
        try:
            data = packed(_named(function(unpacked(frame[1]))))
        except BaseException as error:
            write_frame(answers, ERROR, _words(error).encode())
        else:
            write_frame(answers, ARRAYS, data)


def _function(spec: str) -> Callable[[dict[str, NDArray[Any]]], Any]:
    where, _, name = spec.rpartition(":")
    if where.endswith(".py"):
        found = importlib.util.spec_from_file_location("runner", where)
        if found is None or found.loader is None:
            raise ImportError(f"{where} is no Python file")
        module = importlib.util.module_from_spec(found)
        sys.path.insert(0, os.path.dirname(os.path.abspath(where)))
        found.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(where)
    function = getattr(module, name)
    if not callable(function):
        raise TypeError(f"{name} is {type(function).__name__}, no function")
    return function


def _named(outputs: Any) -> dict[str, NDArray[Any]]:
    """Return the outputs by name; outputs without names by their number."""
    if isinstance(outputs, Mapping):
        pairs = [(str(name), value) for name, value in outputs.items()]
    else:
        values = outputs if isinstance(outputs, list | tuple) else [outputs]
        pairs = [(f"#{number}", value) for number, value in enumerate(values)]
    arrays = {name: np.asarray(value) for name, value in pairs}
    wrong = [name for name, array in arrays.items() if array.dtype.kind not in "fiub"]
    if wrong:
        raise TypeError(f"output {wrong[0]!r} is {arrays[wrong[0]].dtype}, no array of numbers")
    return arrays


def _words(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"[:500]


if __name__ == "__main__":
    main(sys.argv[1])
