"""DICOM series: the slices of a folder as one volume, in the order and with the affine of a NIfTI file.

Of each file only the tags below are read: neither the patient's name nor any other text reaches a message or an output.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import ImageError
from onnxcam.media import numpy_files
from onnxcam.media.dicom_pixels import pixels, require, translated
from onnxcam.text import in_message

__all__ = ["has_series", "is_dicom", "read_series"]

_HEADER = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "Modality",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "RescaleSlope",
)
_UNEVEN = 0.05
"""The share of the distance between slices by which a distance may differ from the others."""
_TURNED = 1e-3
_SKEW = 0.01
_TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""DICOM's axes point to the left, the back and the head; NIfTI's to the right, the front and the head."""
_SHOWN = 5


@dataclass(frozen=True)
class _Slice:
    """One file: where its plane lies, in millimetres in the patient, and its size."""

    path: str
    series: str
    modality: str
    size: tuple[int, int]  # columns, rows
    frames: int
    colours: int
    position: NDArray[np.float64] | None  # of the first voxel
    turn: NDArray[np.float64] | None  # [2, 3]: along a row, down a column
    spacing: tuple[float, float] | None  # between rows, between columns


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether the file at *path* starts as DICOM files do."""
    try:
        with paths.opened(path, ImageError) as file:
            return file.read(132)[128:] == b"DICM"
    except ImageError:
        return False


def has_series(folder: str | os.PathLike[str]) -> bool:
    """Whether a file in *folder* or its subfolders is DICOM."""
    return any(is_dicom(path) for path in paths.below(folder))


def read_series(source: str | os.PathLike[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the volume in the folder *source*, or of the series of the file *source*, and its affine.

    Returns:
        The values, rescaled (Hounsfield units of CT), float32 [columns, rows, slices], the slices sorted along their
        normal; and the affine [4, 4] from these indices to millimetres, to the right, the front and the head.

    Raises:
        ImageError: no series or several, slices that are missing or do not fit, or a compression without a decoder.
    """
    pydicom, path = _pydicom(), Path(source)
    folder = path if paths.kind(path) == "folder" else path.parent
    slices = _one_series(_headers(pydicom, folder), folder, None if folder == path else str(path))
    _check_slices(slices, folder)
    slices, affine = _placed(slices, folder)
    columns, rows = slices[0].size
    numpy_files.check_size((columns, rows, len(slices)), folder, ImageError)
    data = np.empty((columns, rows, len(slices)), np.float32)
    for number, one in enumerate(slices):
        data[:, :, number] = pixels(pydicom, one.path, one.size).T
    return data, affine


def _headers(pydicom: Any, folder: Path) -> list[_Slice]:
    """Return the slices below *folder*; ImageError where there are none."""
    files = sorted(paths.below(folder))
    empty = next((path for path in files if path.lower().endswith(".dcm") and not os.path.getsize(path)), None)
    if empty is not None:
        raise ImageError(f"{in_message(empty)}: the file is empty; copy the series again")
    found = [_header(pydicom, path) for path in files if is_dicom(path)]
    slices = [one for one in found if one is not None]
    if not slices:
        raise ImageError(f"{in_message(folder)}: no DICOM file with an image is in the folder; name that of the series")
    return slices


def _header(pydicom: Any, path: str) -> _Slice | None:
    """Return the slice of a file; None for one without an image, such as a DICOMDIR."""
    with translated(path):
        tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER))
        if "Rows" not in tags and "ImagePositionPatient" not in tags and not _is_of_an_image(tags):
            return None
        require(tags, ("Rows", "Columns"), path)
        slope = _numbers(tags, "RescaleSlope", 1)
        if "RescaleSlope" in tags and (slope is None or slope[0] == 0):
            raise ImageError(
                f"{in_message(path)}: its RescaleSlope is {'no number' if slope is None else 0}, so its values cannot "
                "be rescaled; export the series again, or set RescaleSlope to 1"
            )
        turn = _numbers(tags, "ImageOrientationPatient", 6)
        if turn is not None and not np.allclose(turn.reshape(2, 3) @ turn.reshape(2, 3).T, np.eye(2), atol=_SKEW):
            raise ImageError(
                f"{in_message(path)}: its ImageOrientationPatient, {', '.join(f'{one:g}' for one in turn)}, is no two "
                "perpendicular directions of length 1; export the series again, or convert it to NIfTI, with dcm2niix"
            )
        spacing = _numbers(tags, "PixelSpacing", 2)
        return _Slice(
            path,
            str(tags.get("SeriesInstanceUID", "")),
            str(tags.get("Modality", "image")),
            (int(tags.Columns), int(tags.Rows)),
            int(tags.get("NumberOfFrames") or 1),
            int(tags.get("SamplesPerPixel") or 1),
            _numbers(tags, "ImagePositionPatient", 3),
            None if turn is None else turn.reshape(2, 3),
            None if spacing is None or not (spacing > 0).all() else (float(spacing[0]), float(spacing[1])),
        )


def _is_of_an_image(tags: Any) -> bool:
    """Whether the file says that it holds an image, or is cut off before it says what it holds."""
    kind = tags.get("SOPClassUID") or tags.file_meta.get("MediaStorageSOPClassUID")
    return kind is None or "Image Storage" in kind.name


def _numbers(tags: Any, name: str, count: int) -> NDArray[np.float64] | None:
    """Return the *count* finite numbers of a tag; None where it has no such."""
    value = tags.get(name)
    found = np.asarray([] if value is None else value, np.float64).reshape(-1)
    return found if len(found) == count and np.isfinite(found).all() else None


def _one_series(slices: Sequence[_Slice], folder: Path, chosen: str | None) -> list[_Slice]:
    """Return the slices of the only series, or of that of the file *chosen*."""
    by_series: dict[str, list[_Slice]] = {}
    for one in slices:
        by_series.setdefault(one.series, []).append(one)
    if chosen is not None:
        return next((group for group in by_series.values() if any(_same(one.path, chosen) for one in group)), [])
    groups = list(by_series.values())
    if len(groups) > 1:
        each = "; ".join(f"{in_message(one[0].path)}: {one[0].modality}, {_count(one)}" for one in groups[:_SHOWN])
        more = f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
        raise ImageError(
            f"{in_message(folder)}: {len(groups)} series are in the folder; name a file of the one to explain ({each}"
            f"{more})"
        )
    return groups[0]


def _same(path: str, other: str) -> bool:
    return os.path.abspath(path) == os.path.abspath(other)


def _count(slices: Sequence[_Slice]) -> str:
    return f"{len(slices)} slice{'s' if len(slices) > 1 else ''}"


def _check_slices(slices: Sequence[_Slice], folder: Path) -> None:
    """Raise ImageError unless *slices* are grey images of one size and direction, with a place in the patient."""
    where, first = in_message(folder), slices[0] if slices else None
    if first is None or len(slices) < 2:
        raise ImageError(f"{where}: the series is a single slice, no volume; name the folder with all of its slices")
    framed = next((one for one in slices if one.frames > 1 or one.colours > 1), None)
    if framed is not None:
        what = f"{framed.frames} frames in one file" if framed.frames > 1 else "colours"
        raise ImageError(f"{in_message(framed.path)}: has {what}, no grey slice; convert it to NIfTI, with dcm2niix")
    bare = next((one for one in slices if one.position is None or one.turn is None or one.spacing is None), None)
    if bare is not None:
        raise ImageError(
            f"{in_message(bare.path)}: does not say where its slice lies (ImagePositionPatient, "
            "ImageOrientationPatient, PixelSpacing); export the series with these tags, or leave out files that are "
            "no slices of the scan"
        )
    other = next((one for one in slices if one.size != first.size), None)
    if other is not None:
        sizes = ["{} x {}".format(*one.size) for one in (first, other)]
        raise ImageError(
            f"{where}: slices of several sizes: {sizes[0]}, but {sizes[1]} in {in_message(other.path)}; leave out "
            "files that are no slices of the scan"
        )
    for one in slices:
        if not np.allclose(_placing(one), _placing(first), atol=_TURNED):
            raise ImageError(
                f"{where}: slices of several directions or pixel spacings, such as that of {in_message(one.path)}; "
                "leave out files that are no slices of the scan"
            )


def _placing(one: _Slice) -> NDArray[np.float64]:
    """Return the direction and the spacing of a slice."""
    return np.concatenate([np.asarray(one.turn).reshape(-1), np.asarray(one.spacing)])


def _placed(slices: Sequence[_Slice], folder: Path) -> tuple[list[_Slice], NDArray[np.float64]]:
    """Return *slices* in the order of their normal, and their affine; ImageError where one is missing or twice."""
    turn, spacing = np.asarray(slices[0].turn), slices[0].spacing or (1.0, 1.0)
    normal = np.cross(turn[0], turn[1])
    depths = [float(np.asarray(one.position) @ normal) for one in slices]
    order = np.argsort(depths, kind="stable")
    slices, depth = [slices[i] for i in order], np.asarray(depths)[order]
    _check_spacing(depth, folder, [one.path for one in slices])
    first, last = np.asarray(slices[0].position), np.asarray(slices[-1].position)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = turn[0] * spacing[1], turn[1] * spacing[0]
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(slices) - 1), first
    affine[:3] = _TO_RAS @ affine[:3]
    return slices, affine


def _check_spacing(depth: NDArray[np.float64], folder: Path, files: Sequence[str]) -> None:
    """Raise ImageError unless the depths of the slices, sorted, have one distance."""
    steps, where = np.diff(depth), in_message(folder)
    usual = float(np.median(steps))
    twice = int(np.argmin(steps))
    if steps[twice] <= _TURNED:
        names = " and ".join(in_message(os.path.basename(files[i])) for i in (twice, twice + 1))
        raise ImageError(
            f"{where}: two slices lie at {depth[twice]:.4g} mm ({names}); keep one scan (phase, echo) of it"
        )
    wide = int(np.argmax(np.abs(steps - usual)))
    if abs(steps[wide] - usual) > _UNEVEN * usual:
        missing = round(steps[wide] / usual) - 1
        what = f"{missing} slice{'s are' if missing > 1 else ' is'} missing" if missing > 0 else "slices are uneven"
        raise ImageError(
            f"{where}: {what} between {depth[wide]:.4g} and {depth[wide + 1]:.4g} mm: slices are {usual:.4g} mm apart; "
            "copy the series again, or resample it"
        )


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.pixels  # noqa: F401
    except ImportError:
        raise ImageError("DICOM files need pydicom; pip install 'onnxcam[volumes]'") from None
    return pydicom
