"""The model's other inputs, beside the image: a question, a pose, a second image; read from words or arrays."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import ModelError, nearest
from onnxcam.media import numpy_files
from onnxcam.media.image import SUFFIXES
from onnxcam.structure.layout import picture_layout
from onnxcam.text import in_message

__all__ = ["InputValue", "missing", "read", "unused"]

InputValue: TypeAlias = "str | os.PathLike[str] | Sequence[float] | NDArray[Any]"
"""The value of an input: a sentence, numbers, an .npy file, an image file, or an array."""


def read(
    given: Mapping[str, InputValue],
    inputs: Sequence[ir.Value],
    vocabulary: Mapping[str, Sequence[str]],
    prepare: Callable[[ir.Value, Any], NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    """Return *given* as arrays [1, …] by the name of the input.

    Words become indices of the input's *vocabulary*, padded with zeros to a fixed length; *prepare* reads and
    preprocesses an image. ModelError for an unknown input, or a value that does not fit.
    """
    by_name = {value.name or "": value for value in inputs}
    for name in given:
        if name not in by_name:
            there = ", ".join(by_name) or "none beside the image"
            raise ModelError(f"the model has no other input {name!r}; there is {there}.{nearest(name, by_name)}")
    return {name: _one(by_name[name], value, vocabulary.get(name), prepare) for name, value in given.items()}


def missing(given: Mapping[str, Any], inputs: Sequence[ir.Value]) -> None:
    """Raise ModelError for the first of *inputs* without a given value."""
    for value in inputs:
        if value.name not in given:
            raise ModelError(
                f"the model has {1 + len(inputs)} inputs and takes {value.name!r} {value.shape} "
                f"({str(value.dtype).lower()}) beside the image; "
                f"give it with --input {value.name}=…: words, numbers, an .npy file or an image"
            )


def unused(inputs: Sequence[ir.Value]) -> dict[str, NDArray[Any]]:
    """Return zeros [1, …] for those of *inputs* that no node uses, by name."""
    idle = [value for value in inputs if not value.uses() and not value.is_graph_output()]
    return {value.name or "": _zeros(value) for value in idle if value.dtype is not None}


def _zeros(value: ir.Value) -> NDArray[Any]:
    dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
    return np.zeros([length if isinstance(length, int) else 1 for length in value.shape or ()], dtype)


def _one(
    value: ir.Value, given: InputValue, words: Sequence[str] | None, prepare: Callable[[ir.Value, Any], NDArray[Any]]
) -> NDArray[Any]:
    dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
    if isinstance(given, str) and words and not given.lower().endswith((".npy", *SUFFIXES)):
        return _padded(_indices(value, given, words), value).astype(dtype)[None]
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if path.suffix.lower() in SUFFIXES:
            return prepare(value, path)
        array = _array(value, path) if path.suffix.lower() == ".npy" else _numbers(value, str(given))
    else:
        array = _of_numbers(value, given)
    if array.dtype == np.uint8 and picture_layout(value) is not None and array.ndim == 3:
        return prepare(value, array)
    rank = len(value.shape) if value.shape is not None else array.ndim + 1
    if array.ndim != rank:
        array = array.reshape(()) if rank == 0 and array.size == 1 else array[None]
    _check(value, array)
    return _cast(value, array, dtype)


def _indices(value: ir.Value, text: str, words: Sequence[str]) -> NDArray[np.int64]:
    found, known = [], [word.casefold() for word in words]
    for word in re.findall(r"[\w<>'-]+|[^\w\s]", text.casefold()):
        if word not in known:
            if not word.isalnum():
                continue  # a question mark
            raise ModelError(
                f"--input {value.name}: the word {word!r} is not in the model's vocabulary of {len(words)}."
                f"{nearest(word, words)}"
            )
        found.append(known.index(word))
    return np.asarray(found, np.int64)


def _padded(indices: NDArray[np.int64], value: ir.Value) -> NDArray[np.int64]:
    length = value.shape[1] if value.shape is not None and len(value.shape) == 2 else None
    if not isinstance(length, int):
        return indices
    if len(indices) > length:
        raise ModelError(f"--input {value.name}: {len(indices)} words are too many; the model takes {length}")
    return np.pad(indices, (0, length - len(indices)))


def _array(value: ir.Value, path: Path) -> NDArray[Any]:
    try:
        return numpy_files.read(path, ModelError)
    except ModelError as error:
        raise ModelError(f"--input {value.name}: {error}") from None


def _numbers(value: ir.Value, text: str) -> NDArray[Any]:
    try:
        return _of_numbers(value, json.loads(text if text.lstrip().startswith("[") else f"[{text}]"))
    except (ValueError, RecursionError):
        raise ModelError(
            f"--input {value.name}: '{in_message(text)}' is neither numbers (1,0,3.5) nor an .npy file nor an image, "
            "and the file has no vocabulary of words for it (docs/card.md)"
        ) from None


def _of_numbers(value: ir.Value, given: Any) -> NDArray[Any]:
    try:
        array = np.asarray(given)
        if array.dtype.kind in "biuf":
            return array
    except (TypeError, ValueError, OverflowError):
        pass
    raise ModelError(f"--input {value.name}: the model takes numbers, not {in_message(str(given))}")


def _cast(value: ir.Value, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return *array* as *dtype*; ModelError for NaN or infinity, or for values that an integer dtype does not hold."""
    if not np.isfinite(array).all():
        raise ModelError(f"--input {value.name}: the values hold NaN or infinity; give finite numbers")
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        if not np.array_equal(array, np.rint(array)) or np.any(array < info.min) or np.any(array > info.max):
            raise ModelError(
                f"--input {value.name}: the model takes whole numbers ({dtype}) from {info.min} to {info.max}"
            )
    with np.errstate(all="ignore"):
        return np.asarray(array, dtype, order="C")


def _check(value: ir.Value, array: NDArray[Any]) -> None:
    wanted = list(value.shape) if value.shape is not None else list(array.shape)
    fits = len(wanted) == array.ndim and all(
        not isinstance(a, int) or a == b for a, b in zip(wanted[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ModelError(f"--input {value.name}: the shape is {list(array.shape)}, but the model takes {value.shape}")
