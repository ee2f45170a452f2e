"""Tensors of any framework to arrays of numpy, and back to the kind that was given."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import ModelError
from onnxcam.graph.quantisation import quantised, units

__all__ = ["InputUnits", "as_array", "as_batch", "as_given", "as_taken", "in_units", "units_of"]

InputUnits: TypeAlias = tuple[np.dtype[Any], tuple[float, int]]
"""The type of a quantised input, and its scale and zero point."""


def as_array(tensor: Any) -> NDArray[Any]:
    """Return *tensor*, of PyTorch or anything that numpy takes, as an array in host memory, float32 for float64.

    ModelError where it holds no numbers.
    """
    for step in ("detach", "cpu"):  # of PyTorch's tensors, which numpy takes only without gradient and on the CPU
        tensor = getattr(tensor, step, lambda same=tensor: same)()
    try:
        array = np.asarray(tensor)
    except ValueError:  # rows of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "fiub":
        raise ModelError(
            f"a tensor is given as {type(tensor).__name__} and holds no numbers; give a preprocessed tensor"
        )
    return array.astype(np.float32) if array.dtype == np.float64 else array


def as_batch(tensor: Any) -> NDArray[Any]:
    """Return `as_array` of a batch [N, …]; ModelError where it has no axis, or no image."""
    array = as_array(tensor)
    if array.ndim == 0 or not len(array):
        raise ModelError(f"the input of shape {array.shape} is no batch of images; give a tensor [N, …], N at least 1")
    return array


def as_taken(array: NDArray[Any], value: ir.Value) -> NDArray[Any]:
    """Return *array* as the input *value* takes it: floats as integers where it is quantised with known scale."""
    return in_units(array, units_of(value))


def units_of(value: ir.Value) -> InputUnits | None:
    """Return the type, scale and zero point of the quantised input *value*; None where they are not known."""
    if value.dtype is None or not value.dtype.is_integer():
        return None
    found = units(value)
    return None if found is None or found.known is None else (value.dtype.numpy(), found.known)


def in_units(array: NDArray[Any], known: InputUnits | None) -> NDArray[Any]:
    """Return floats quantised by *known*; integers, and anything where it is None, as they are."""
    return array if known is None or array.dtype.kind != "f" else quantised(array, *known)


def as_given(array: NDArray[Any], like: Any) -> Any:
    """Return *array* as a tensor of PyTorch, on its device, if *like* is one; else as it is."""
    torch = sys.modules.get("torch")  # a tensor of PyTorch comes from a program that has imported it
    if torch is None or not isinstance(like, torch.Tensor):
        return array
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)
