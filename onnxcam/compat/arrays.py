"""Tensors of any framework to arrays of numpy, and back to the kind that was given."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_array", "as_given"]


def as_array(tensor: Any) -> NDArray[Any]:
    """Return *tensor*, of PyTorch or anything that numpy takes, as an array in host memory, float32 for float64."""
    for step in ("detach", "cpu"):  # of PyTorch's tensors, which numpy takes only without gradient and on the CPU
        tensor = getattr(tensor, step, lambda same=tensor: same)()
    array = np.asarray(tensor)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def as_given(array: NDArray[Any], like: Any) -> Any:
    """Return *array* as a tensor of PyTorch, on its device, if *like* is one; else as it is."""
    torch = sys.modules.get("torch")  # a tensor of PyTorch comes from a program that has imported it
    if torch is None or not isinstance(like, torch.Tensor):
        return array
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)
