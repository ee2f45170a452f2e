"""Read .npy and .npz files of numbers. Sizes are checked before memory is allocated; pickles are refused."""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import OnnxcamError
from onnxcam.text import first_line

__all__ = ["MAX_NUMBERS", "SUFFIXES", "check_size", "read"]

SUFFIXES = (".npy", ".npz")
MAX_NUMBERS = 2**28
"""Larger arrays are refused: an .npz file of a few kilobytes can unpack to gigabytes."""
_MAX_BYTES = 16 * MAX_NUMBERS


def read(path: Path, error: type[OnnxcamError]) -> NDArray[Any]:
    """Return the array in an .npy file, or in an .npz file of one array; raise *error* for anything else."""
    content = paths.read_bytes(path, error, "array", _MAX_BYTES)
    try:
        return (_unzipped if content.startswith(b"PK") else _array)(io.BytesIO(content), path, error)
    except OnnxcamError:
        raise
    except Exception as found:  # zip, zlib and NumPy raise errors of many types
        why = first_line(found)
        raise error(f"{path}: cannot be read as an array ({why}); save it with numpy.save again") from None


def check_size(shape: tuple[int, ...], path: str | os.PathLike[str], error: type[OnnxcamError]) -> None:
    """Raise *error* if an array of *shape* is too large."""
    if math.prod(shape) > MAX_NUMBERS:
        size = " x ".join(map(str, shape))
        raise error(f"{path}: an array of {size} is above the limit of {MAX_NUMBERS} numbers (2^28); scale it down")


def _unzipped(data: IO[bytes], path: Path, error: type[OnnxcamError]) -> NDArray[Any]:
    with zipfile.ZipFile(data) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if len(names) != 1:
            raise error(f"{path}: {len(names)} arrays in it ({', '.join(names)[:200]}); give one alone")
        with archive.open(archive.namelist()[0]) as member:
            return _array(member, path, error)


def _array(data: IO[bytes], path: Path, error: type[OnnxcamError]) -> NDArray[Any]:
    version = npy.read_magic(data)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(data)
    if dtype.kind not in "biuf":
        raise error(f"{path}: is an array of {dtype}, not of numbers; save one of floats or integers")
    if min(shape, default=1) < 0:
        raise ValueError(f"shape {shape}")
    check_size(shape, path, error)
    size = math.prod(shape) * dtype.itemsize
    body = data.read(size)
    if len(body) < size:
        raise error(f"{path}: the array is cut off; copy the file again")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C").copy(order="K")
