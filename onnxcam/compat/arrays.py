"""Tensors of any framework to arrays of numpy, and back to the kind that was given."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ModelError

__all__ = ["as_array", "as_batch", "as_given"]


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


def as_given(array: NDArray[Any], like: Any) -> Any:
    """Return *array* as a tensor of PyTorch, on its device, if *like* is one; else as it is."""
    torch = sys.modules.get("torch")  # a tensor of PyTorch comes from a program that has imported it
    if torch is None or not isinstance(like, torch.Tensor):
        return array
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)
