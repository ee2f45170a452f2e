"""Decode the pixels of a DICOM slice; one line for what is damaged, compressed or lacks a tag."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ImageError
from onnxcam.text import in_message

__all__ = ["pixels", "require", "translated"]

_NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation")
"""Tags without which pixels cannot be decoded."""
_PIXELS = (
    *("PixelData", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
)


def pixels(pydicom: Any, path: str, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the rescaled values [rows, columns] of the file of a slice of *size* (columns, rows); else ImageError."""
    with translated(path):
        tags = pydicom.dcmread(path, specific_tags=list(_PIXELS))
        if "PixelData" not in tags:
            raise ImageError(f"{in_message(path)}: has no pixels, or is cut off before them; copy the file again")
        require(tags, _NEEDED, path)
        require(tags.file_meta, ("TransferSyntaxUID",), path)
        syntax = tags.file_meta.TransferSyntaxUID
        if syntax.is_encapsulated and not pydicom.pixels.get_decoder(syntax).is_available:
            raise ImageError(
                f"{in_message(path)}: is compressed ({syntax.name}); pip install {_decoder(syntax)}, or "
                "decompress the series"
            )
        found = np.asarray(pydicom.pixels.apply_modality_lut(tags.pixel_array, tags), np.float32)
    if found.shape != size[::-1] or not np.isfinite(found).all():
        raise ImageError(f"{in_message(path)}: its pixels are not as its header says; copy the file again")
    return found


def _decoder(syntax: str) -> str:
    """Return the packages that decode a compression."""
    return f"pylibjpeg pylibjpeg-{'openjpeg' if syntax.startswith(_JPEG_2000) else 'libjpeg'}"


_JPEG_2000 = ("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")


def require(tags: Any, names: Sequence[str], path: str) -> None:
    """Raise ImageError for those of *names* that *tags* lack or leave empty."""
    lacking = [name for name in names if tags.get(name) in (None, "")]
    if lacking:
        raise ImageError(
            f"{in_message(path)}: lacks {', '.join(lacking)}, or is cut off before; copy or export the series again"
        )


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn errors of pydicom, which are of many types, into an ImageError that repeats nothing of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(
            f"{in_message(path)}: no DICOM file, or one that is damaged or cut off ({type(error).__name__}); copy the "
            "file again"
        ) from None
