"""Masks as arrays, NIfTI or NumPy: of volumes and signals, and of images too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import ImageError, TruthError
from onnxcam.media import numpy_files, volume
from onnxcam.metrics.truth.annotation import Annotation
from onnxcam.metrics.truth.masks import annotation_of
from onnxcam.metrics.truth.source import TruthPath, TruthSource

__all__ = ["ArrayMaskTruth"]

_ENDS = ("", "_mask", "_masks", "_seg")
_SUFFIXES = (*volume.NIFTI, *numpy_files.SUFFIXES)
_LARGEST = 2**15


class ArrayMaskTruth(TruthSource):
    """A folder of arrays of the inputs' names, or one array; as long as the input on each axis."""

    format = "arrays"
    title = "a folder of masks as arrays (.nii.gz, .npy)"

    def __init__(self, place: TruthPath, values: str = "object") -> None:
        super().__init__(place)
        self._values, self.single = values, place.kind == "file"

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the place is an array, or a folder with arrays."""
        return place.path.name.lower().endswith(_SUFFIXES) or bool(place.files(".nii", ".gz", *numpy_files.SUFFIXES))

    def annotation(self, picture: Path, size: tuple[int, ...]) -> Annotation | None:
        """Return the mask of *picture*, of *size*, and an object for each value in it."""
        path = self._mask(picture)
        return None if path is None else annotation_of(_read(path, size), size, path, self._values)

    def has(self, picture: Path) -> bool:
        """Return whether there is a mask for *picture*."""
        return self._mask(picture) is not None

    def missing(self, picture: Path) -> str:
        """Return the names of the masks that the input may have."""
        names = ", ".join(f"{_stem(picture)}{end}" for end in _ENDS)
        return f"no mask for {picture.name}: '{self.path}' has none of {names}, with {', '.join(_SUFFIXES)}"

    def _mask(self, picture: Path) -> Path | None:
        if self.single:
            return self.path
        names = (f"{_stem(picture)}{end}{suffix}" for end in _ENDS for suffix in _SUFFIXES)
        found = (self.path / name for name in names)
        return next((path for path in found if path != picture and paths.kind(path) == "file"), None)


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
