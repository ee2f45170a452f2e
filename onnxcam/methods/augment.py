"""Test-time augmentation: the mean map of an image, its brighter and darker versions, and their mirror images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from onnxcam.errors import MethodError
from onnxcam.methods.queries import Array, as_dtype
from onnxcam.structure.layout import GridLayout

__all__ = ["FACTORS", "augmented"]

FACTORS = (0.9, 1.0, 1.1)


def augmented(x: Array, layout: GridLayout | None, maps: Callable[[Array], Array]) -> Array:
    """Return M = mean of *maps* over x, 0.9 x, 1.1 x and their mirror images, mirrored back: ``smooth=aug``.

    It is pytorch-grad-cam's ``aug_smooth``, without normalising the maps before the mean. *x* is a batch of tensors;
    *maps* returns the maps [N, *space] of a batch.
    """
    if layout is None:
        raise MethodError(f"smooth=aug mirrors images, but the model's input {x.shape} has no axes of space")
    total = np.zeros(())
    for mirror, factor in product((False, True), FACTORS):
        changed = as_dtype(factor * x.astype(np.float32, copy=False), x.dtype)
        found = maps(np.flip(changed, layout.space[-1]) if mirror else changed).astype(np.float64)
        total = total + (np.flip(found, -1) if mirror else found)
    return (total / (2 * len(FACTORS))).astype(np.float32)
