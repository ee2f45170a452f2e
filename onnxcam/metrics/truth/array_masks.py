"""Masks as arrays, NIfTI or NumPy: of volumes and signals, and of images too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ImageError, TruthError
from onnxcam.media import numpy_files, volume
from onnxcam.metrics.truth.masks import MaskFiles
from onnxcam.metrics.truth.source import TruthPath

__all__ = ["ArrayMaskTruth"]

_ENDS = ("", "_mask", "_masks", "_seg")
_SUFFIXES = (*volume.NIFTI, *numpy_files.SUFFIXES)
_LARGEST = 2**15


class ArrayMaskTruth(MaskFiles):
    """A folder of arrays of the inputs' names, or one array; as long as the input on each axis."""

    format = "arrays"
    title = "a folder of masks as arrays (.nii.gz, .npy)"

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the place is an array, or a folder with arrays."""
        return place.path.name.lower().endswith(_SUFFIXES) or bool(place.files(".nii", ".gz", *numpy_files.SUFFIXES))

    def missing(self, picture: Path) -> str:
        """Return the names of the masks that the input may have."""
        names = ", ".join(f"{_stem(picture)}{end}" for end in _ENDS)
        return f"no mask for {picture.name}: '{self.path}' has none of {names}, with {', '.join(_SUFFIXES)}"

    def _places(self, picture: Path) -> Iterator[Path]:
        names = (f"{_stem(picture)}{end}{suffix}" for end in _ENDS for suffix in _SUFFIXES)
        return (path for name in names if (path := self.path / name) != picture)

    def _read(self, path: Path, size: tuple[int, ...]) -> NDArray[Any]:
        return _read(path, size)


def _stem(picture: Path) -> str:
    """Return the name without its suffix, which may be .nii.gz."""
    suffix = next((one for one in volume.NIFTI if picture.name.lower().endswith(one)), picture.suffix)
    return picture.name.removesuffix(picture.name[len(picture.name) - len(suffix) :]) if suffix else picture.name


def _read(path: Path, size: tuple[int, ...]) -> NDArray[Any]:
    """Return the mask at *path*; one of a signal, [T], has a row as its input has."""
    try:
        is_numpy = path.suffix.lower() in numpy_files.SUFFIXES
        found = numpy_files.read(path, ImageError) if is_numpy else volume.read(path).data
    except ImageError as error:
        raise TruthError(str(error)) from None
    found = found.reshape(size) if np.squeeze(found).shape == tuple(n for n in size if n > 1) else found
    whole = found.astype(np.int64)
    if (whole != found).any() or not 0 <= whole.min(initial=0) <= whole.max(initial=0) <= _LARGEST:
        raise TruthError(f"{path}: a mask holds whole numbers from 0 to {_LARGEST}; save it so")
    return whole
