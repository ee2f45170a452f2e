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
from onnxcam.metadata.reading import Part
from onnxcam.structure.layout import is_picture
from onnxcam.text import in_message

__all__ = ["InputValue", "missing", "part", "read", "sizes", "unused"]

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


_SIZES: Mapping[str, Callable[[int, int], Sequence[float]]] = {
    "orig_target_sizes": lambda height, width: (width, height),  # RT-DETR, D-FINE
    "im_shape": lambda height, width: (height, width),  # PaddleDetection
    "im_size": lambda height, width: (height, width),
    "im_info": lambda height, width: (height, width, 1),
    "image_shape": lambda height, width: (height, width),  # keras-yolo3
    "scale_factor": lambda height, width: (1, 1),
}
"""Inputs of detectors that scale their boxes to the size of an image: from the size of the image tensor to a row."""
_MASK = "pixel_mask"
"""Which pixels are no padding, [N, H, W]: DETR of transformers."""


def sizes(inputs: Sequence[ir.Value], size: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Return values [1, …] for those of *inputs* that take the size of the image, by name, for a tensor of *size*.

    It is the size of the tensor, without padding, so that boxes come in the tensor's pixels.
    """
    if len(size) != 2 or not inputs:
        return {}
    known = {name: [make(*size)] for name, make in _SIZES.items()} | {_MASK: np.ones((1, *size))}
    rows = ((x, np.asarray(known[x.name or ""])) for x in inputs if x.name in known and x.dtype is not None)
    return {x.name or "": row.astype(x.dtype.numpy()) for x, row in rows if x.dtype is not None and _takes(x, row)}


def _takes(value: ir.Value, row: NDArray[Any]) -> bool:
    """Return whether the input *value* takes *row* [1, …]."""
    shape = list(value.shape or ())
    return len(shape) == row.ndim and all(
        not isinstance(length, int) or length == given for length, given in zip(shape[1:], row.shape[1:], strict=True)
    )


def part(names: Sequence[str]) -> Part:
    """Return the part of the reading for the inputs *names* that `sizes` fills."""
    return Part("inputs", f"{', '.join(map(repr, names))}, of the size of the image tensor", "names")


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
    if array.dtype == np.uint8 and is_picture(value) and array.ndim == 3:
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
