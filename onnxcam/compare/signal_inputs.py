"""Signals in a comparison: a record is prepared like an image of one row, and drawn for reports."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.compare.tasks.observation import PreparedImage
from onnxcam.errors import ImageError
from onnxcam.media import image, signal, signal_plot
from onnxcam.media.frame import Frame
from onnxcam.media.image import RgbImage
from onnxcam.model.description import ModelDescription
from onnxcam.model.modality import Modality

__all__ = ["drawn_record", "is_record", "prepared_record", "takes_records"]

_LINE = (110, 320)
"""Height and width of a drawn record of one axis, in pixels."""


def takes_records(network: ModelDescription) -> bool:
    """Return whether *network* takes signals along time, and no image."""
    return network.layout is not None and len(network.layout.space) == 1


def is_record(network: ModelDescription, path: str) -> bool:
    """Return whether *network* reads the file *path* as a signal."""
    return takes_records(network) or not network.modality.decodes(path)


def prepared_record(modality: Modality, path: str | os.PathLike[str]) -> PreparedImage:
    """Read and scale the signal in a file; ImageError where it does not fit. A signal along time has a height of 1."""
    name = os.fspath(path)
    seen = modality.read(name)
    *rows, width = modality.size(seen)
    height = rows[0] if rows else 1
    digest = hashlib.sha256(paths.read_bytes(name, ImageError, "signal", image.MAX_BYTES)).hexdigest()
    return PreparedImage(name, digest, (height, width), modality.tensor(seen), Frame(0, 0, width, height))


def drawn_record(path: str, size: tuple[int, int]) -> RgbImage:
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
