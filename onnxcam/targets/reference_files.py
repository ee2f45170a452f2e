"""What an embedding is compared with, as the user gives it: a vector, or something that may be a file or a text."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from onnxcam import paths
from onnxcam.errors import TargetError
from onnxcam.media import numpy_files
from onnxcam.media.image import SUFFIXES
from onnxcam.targets.goal import Array, Reference
from onnxcam.targets.notation import ImageSource

__all__ = ["is_file", "vector_of"]

_FILES = (*SUFFIXES, *numpy_files.SUFFIXES, ".nii", ".nii.gz")


def is_file(source: str) -> bool:
    """Whether *source* names a file: it exists, or ends as files of images, volumes and arrays do."""
    return source.lower().endswith(_FILES) or paths.kind(source) == "file"


def vector_of(key: str, source: ImageSource, length: int) -> Reference | None:
    """Return the vector in the array or .npy file *source*, an embedding of *length*; None where it is no vector.

    A vector is [D] or [1, D]. TargetError where it has another length, or is zero or not finite.
    """
    name = "the array" if isinstance(source, np.ndarray) else f"{os.fspath(source)}"
    if isinstance(source, np.ndarray):
        array: Array = source
    elif Path(source).suffix.lower() in numpy_files.SUFFIXES:
        array = numpy_files.read(Path(source), TargetError)
    else:
        return None
    if not (array.ndim == 1 or (array.ndim == 2 and len(array) == 1)):
        return None
    vector = array.reshape(-1).astype(np.float64)
    if vector.size != length:
        raise TargetError(
            f"{key}= {name} has {vector.size} numbers, but the embedding of the image has {length}; give a vector of "
            "the same model"
        )
    largest = float(np.abs(vector).max())
    if not 0 < largest < np.inf:
        what = "zero" if largest == 0 else "not finite: it holds NaN or infinity"
        raise TargetError(f"{key}= {name} is {what}; save the embedding again")
    unit = vector / largest
    unit /= np.linalg.norm(unit)
    return Reference(unit.astype(np.float32), f"{name}: a vector of {length} numbers, brought to length 1")
