"""Volumes: read NIfTI, DICOM and NumPy files, and scale them for a model."""

from __future__ import annotations

import gzip
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam import files, paths
from onnxcam.errors import ImageError, PreprocessError, nearest
from onnxcam.media import dicom, numpy_files
from onnxcam.text import first_line, in_message

__all__ = [
    "NIFTI",
    "SCALINGS",
    "Volume",
    "VolumeScaling",
    "VolumeSource",
    "encode",
    "guess",
    "read",
    "scaling",
    "write",
]

VolumeSource: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | Volume"

NIFTI = (".nii", ".nii.gz")
_MAX_START = 2**26  # bytes of extensions between a NIfTI header and the values
_LARGEST = 1e30
_ACCEPTED = (
    "give a NIfTI file (.nii, .nii.gz), the folder of a DICOM series, an .npy or .npz file, or an array [D, H, W]"
)


@dataclass(frozen=True)
class Volume:
    """Values [D, H, W] in the file's own order of axes, and the position of the grid in the scanner.

    The order of a DICOM series is that of a NIfTI file: columns, rows, slices.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64] | None = None  # [4, 4], to the right, the front and the head; of NIfTI and DICOM files


def read(source: VolumeSource) -> Volume:
    """Return the volume in a file, a folder of a DICOM series or an array; ImageError for anything else."""
    if isinstance(source, Volume):
        return source
    if isinstance(source, np.ndarray):
        return Volume(_checked(source, "the array"))
    path = Path(source)
    if paths.kind(path) == "folder" or dicom.is_dicom(path):
        data, affine = dicom.read_series(path)
        return Volume(_checked(data, in_message(path)), affine)
    paths.check_file(path, ImageError, "volume")
    if path.name.lower().endswith(NIFTI):
        return _read_nifti(path)
    if path.suffix.lower() in numpy_files.SUFFIXES:
        return Volume(_checked(numpy_files.read(path, ImageError), str(path)))
    raise ImageError(f"{path}: the model takes volumes; {_ACCEPTED}")


def encode(data: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    """Return *data* with *affine* as the bytes of a NIfTI file, .nii.gz."""
    nibabel = _nibabel()
    return gzip.compress(nibabel.Nifti1Image(np.asarray(data, np.float32), affine).to_bytes(), mtime=0)


def write(path: Path, data: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write *data* as NIfTI, .nii.gz, with *affine*. Raises OutputError."""
    files.write(path, encode(data, affine), overwrite=True)


def _is_affine(affine: NDArray[np.float64]) -> bool:
    """Whether *affine* places voxels: it is finite and can be inverted. Damaged headers have zeros."""
    return bool(np.isfinite(affine).all()) and np.linalg.matrix_rank(affine) == 4


def _read_nifti(path: Path) -> Volume:
    nibabel = _nibabel()
    nibabel.imageglobals.logger.disabled = True  # it prints repairs
    try:
        _check_start(path)
        image = nibabel.load(path)
        numpy_files.check_size(image.shape, path, ImageError)
        with np.errstate(all="ignore"):
            data, affine = np.asanyarray(image.dataobj), np.asarray(image.affine, np.float64)
    except ImageError:
        raise
    except Exception as error:  # nibabel raises errors of many types
        why = first_line(error)
        raise ImageError(f"{path}: no NIfTI file, or a damaged one ({why})") from None
    return Volume(_checked(data, str(path)), affine if _is_affine(affine) else None)


def _check_start(path: Path) -> None:
    """Refuse a file whose values start far after the header: all bytes before them would be unpacked."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        head = file.read(544)
    for order in "<>":
        (size,) = struct.unpack_from(order + "i", head)
        if size in (348, 540):
            kind, at = ("f", 108) if size == 348 else ("q", 168)
            (start,) = struct.unpack_from(order + kind, head, at)
            if not 0 <= start <= _MAX_START:
                raise ImageError(f"{path}: no NIfTI file, or a damaged one (its numbers start at byte {start:g})")


def _checked(data: NDArray[Any], name: str) -> NDArray[Any]:
    shape = data.shape
    data = data[..., 0] if data.ndim == 4 and shape[-1] == 1 else data
    if data.ndim != 3 or data.size == 0 or data.dtype.kind not in "uif":
        raise ImageError(f"{name} is {data.dtype} of shape {list(shape)}, no volume; {_ACCEPTED}")
    if data.dtype.kind == "f" and not (data.min() >= -_LARGEST and data.max() <= _LARGEST):  # NaN is neither
        raise ImageError(f"{name} holds NaN, infinity or numbers above {_LARGEST:g}; mend the volume first")
    return data


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError:
        raise ImageError("NIfTI files need nibabel; pip install 'onnxcam[volumes]'") from None
    return nibabel


@dataclass(frozen=True)
class VolumeScaling:
    """The conversion of a volume to the model's tensor [1, 1, D, H, W].

    ``unit``: 0..255 to 0..1; ``minmax``: its minimum and maximum to 0 and 1; ``zscore``: minus its mean, divided by its
    standard deviation; ``raw``: unchanged.
    """

    kind: str
    dtype: np.dtype[Any]
    channel: int = 1

    def __call__(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return *data* scaled, with batch and channel axes."""
        x = data.astype(np.float64)
        if self.kind == "unit":
            x = x / 255
        elif self.kind == "minmax":
            x = (x - x.min()) / max(x.max() - x.min(), 1e-12)
        elif self.kind == "zscore":
            x = (x - x.mean()) / max(x.std(), 1e-12)
        return np.ascontiguousarray(np.expand_dims(x.astype(self.dtype)[None], self.channel))


SCALINGS = ("unit", "minmax", "zscore", "raw")


def scaling(spec: object, dtype: np.dtype[Any], channel: int) -> VolumeScaling | None:
    """Return the scaling named *spec*, None for None; PreprocessError for an unknown name."""
    if spec is None:
        return None
    if spec not in SCALINGS:
        known = ", ".join(SCALINGS)
        raise PreprocessError(
            f"a volume's preprocessing is one of {known}, not {spec!r}.{nearest(str(spec), SCALINGS)}"
        )
    return VolumeScaling(str(spec), dtype, channel)


def guess(data: NDArray[Any], dtype: np.dtype[Any], channel: int) -> VolumeScaling:
    """Return the scaling that the values of a volume suggest."""
    if dtype.kind in "iu" or (data.dtype.kind == "f" and data.min() >= -1 and data.max() <= 1):
        return VolumeScaling("raw", dtype, channel)
    return VolumeScaling("unit" if data.dtype == np.uint8 else "zscore", dtype, channel)
