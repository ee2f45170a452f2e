"""Signals and volumes in a comparison: read and scaled like an image, and read again for reports."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.compare.tasks.observation import PreparedImage
from onnxcam.errors import ImageError
from onnxcam.media import dicom, image, signal, signal_plot, volume
from onnxcam.media.frame import covering
from onnxcam.media.image import RgbImage
from onnxcam.media.volume import Volume
from onnxcam.model.description import ModelDescription
from onnxcam.model.modality import Modality

__all__ = ["content_hash", "drawn_record", "is_array", "prepared_array", "takes_arrays", "volume_again"]

_LINE = (110, 320)
"""Height and width of a drawn record of one axis, in pixels."""


def takes_arrays(network: ModelDescription) -> bool:
    """Return whether *network* takes signals along time or volumes, and no image."""
    return network.layout is not None and len(network.layout.space) != 2


def is_array(network: ModelDescription, path: str) -> bool:
    """Return whether *network* reads the file *path* as a signal or a volume."""
    return takes_arrays(network) or not network.modality.decodes(path)


def prepared_array(modality: Modality, path: str | os.PathLike[str]) -> PreparedImage:
    """Read and scale the signal or volume at *path*; ImageError where it does not fit.

    A signal along time is like an image of one row.
    """
    name = os.fspath(path)
    seen = modality.read(name)
    size = modality.size(seen)
    size = size if len(size) > 1 else (1, *size)
    found = PreparedImage(
        name, content_hash(name, seen), size, modality.tensor(seen), covering([(0.0, float(n)) for n in size])
    )
    affine = modality.affine(seen)
    return found if affine is None else found.spaced(np.linalg.norm(affine[:3, :3], axis=0).tolist())


def content_hash(name: str, seen: Any) -> str:
    """Return the SHA-256 of the file *name*; of a DICOM series, which is many files, of the voxels *seen* in it."""
    if isinstance(seen, Volume) and (paths.kind(name) == "folder" or dicom.is_dicom(Path(name))):
        return hashlib.sha256(np.ascontiguousarray(seen.data).tobytes()).hexdigest()
    return hashlib.sha256(paths.read_bytes(name, ImageError, "array", image.MAX_BYTES)).hexdigest()


def volume_again(path: str, size: tuple[int, ...], sha256: str) -> Volume:
    """Return the volume at *path*; ImageError where it is not the one of *size* with the hash *sha256*."""
    seen = volume.read(path)
    if seen.data.shape != size or content_hash(path, seen) != sha256:
        raise ImageError(f"{path}: the file has changed since the comparison")
    return seen


def drawn_record(path: str, size: tuple[int, ...]) -> RgbImage:
    """Return the record in the file *path*, of *size* (height, width), as a picture; ImageError where it is another."""
    found = signal.read(path)
    values: NDArray[Any] = np.squeeze(found.values)
    if size[0] == 1:
        values = np.atleast_2d(values)
        values = values if values.shape[1] == size[1] else values.T
        if values.shape[1] != size[1]:
            raise ImageError(f"{path}: a part of the record was compared; it is not drawn")
        return signal_plot.thumbnail(values.astype(np.float32), _LINE)
    values = values if values.shape == size else values.T
    if values.shape != size:
        raise ImageError(f"{path}: has several channels; it is not drawn")
    return signal_plot.grey(values.astype(np.float32))
