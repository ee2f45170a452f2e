"""Identity of model files in reports: the hash of a file, and the data type of its weights."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path

import onnx_ir as ir

from onnxcam.graph.io import ModelLike, files_of, load, to_bytes
from onnxcam.graph.weights import is_beside, weights
from onnxcam.hub import local

__all__ = ["fingerprint", "model_hash", "weights_kind"]


def model_hash(source: ModelLike, model: ir.Model) -> str:
    """Return the SHA-256 of the model file, or bytes, together with its external weight files."""
    if not isinstance(source, str | os.PathLike):
        return hashlib.sha256(source if isinstance(source, bytes) else to_bytes(model)).hexdigest()
    beside = {str(x.const_value.path) for x in weights(model) if is_beside(x.const_value)}  # type: ignore[union-attr]
    return _digest(local(source), *map(Path, sorted(beside)))


def _digest(*paths: Path) -> str:
    """Return the SHA-256 of the files, one after the other."""
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                found.update(piece)
    return found.hexdigest()


def fingerprint(source: ModelLike) -> str:
    """Return a hash of samples of the model file and its external weight files, in time that does not grow with them.

    Two models of the same size differ in it if they differ in any of `_SAMPLES` pieces, spread over each file. Of a
    model in memory the pieces are of its weights.
    """
    found, paths = hashlib.sha256(), files_of(source)
    if not paths:
        held = [value.const_value for value in weights(load(source)) if value.const_value is not None]
        found.update(repr([(one.name, str(one.shape)) for one in held]).encode())
        for one in held[:: max(1, len(held) // _SAMPLES)]:
            found.update(one.numpy().reshape(-1)[:_PIECE].tobytes())
    for path in paths:
        size = path.stat().st_size
        found.update(str(size).encode())
        with path.open("rb") as file:
            for k in range(_SAMPLES):
                file.seek(max(0, size - _PIECE) * k // (_SAMPLES - 1))
                found.update(file.read(_PIECE))
    return found.hexdigest()


_SAMPLES, _PIECE = 16, 1 << 16


def weights_kind(model: ir.Model) -> str:
    """Return the most common data type of the weights, such as float32 or int8."""
    counts: Counter[str] = Counter()
    for tensor in (value.const_value for value in weights(model)):
        if tensor is not None and tensor.dtype not in (ir.DataType.INT64, ir.DataType.BOOL):
            counts[tensor.dtype.numpy().name] += tensor.size
    return counts.most_common(1)[0][0] if counts else "float32"
