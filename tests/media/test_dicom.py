"""DICOM series: sorted, rescaled and placed; one line for each that is none; nothing of the patient goes out."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxcam.errors import ImageError
from onnxcam.media import image, volume
from tests.command import Ran
from tests.explainer.test_tiled import network

pydicom = pytest.importorskip("pydicom")
VOXELS = np.random.default_rng(0).integers(-500, 1500, (6, 8, 5)).astype(np.int16)  # slices, rows, columns
SERIES = "1.2.826.0.1.3680043.8.498.1"
TURN = np.array([[0.0, 1, 0], [0, 0, -1]])  # a sagittal scan: along a row to the back, down a column to the feet
NAME = "Mustermann^Erika"


def write(
    folder: Path, at: float, pixels: Any, *, series: str = SERIES, syntax: str | None = None, **tags: Any
) -> Path:
    """Write a slice, *at* millimetres along its normal."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{'ab'[series != SERIES]}{at % 7:07.4f}.dcm"  # not in the order of the slices
    one = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    one.SOPInstanceUID, one.SeriesInstanceUID, one.Modality = generate_uid(), series, "CT"
    one.PatientName, one.PatientID, one.PatientBirthDate = NAME, "ID-4711", "19700101"
    one.ImageOrientationPatient, one.PixelSpacing = [*TURN.ravel()], [0.5, 0.75]
    one.ImagePositionPatient = [*(np.array([10.0, 20, 30]) + at * np.cross(*TURN))]
    one.Rows, one.Columns, one.SamplesPerPixel = *pixels.shape[:2], 1
    one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", 1
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.RescaleSlope, one.RescaleIntercept = 15, 2, -1000
    one.PixelData = pixels.tobytes()
    for name, value in tags.items():
        delattr(one, name) if value is None else setattr(one, name, value)
    if syntax is not None:
        one.PixelData = pydicom.encaps.encapsulate([bytes(10)])
        one["PixelData"].VR = "OB"
        meta.TransferSyntaxUID = syntax
    one.save_as(path, enforce_file_format=False)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A series of six slices, 2.5 mm apart."""
    (tmp_path / "scan").mkdir()
    for number, pixels in enumerate(VOXELS):
        write(tmp_path / "scan", 2.5 * number, pixels)
    (tmp_path / "scan" / "readme.txt").write_text("no slice")
    return tmp_path / "scan"


def test_slices_are_sorted_rescaled_and_placed(folder: Path) -> None:
    found = volume.read(folder)
    np.testing.assert_array_equal(found.data, 2.0 * VOXELS.transpose(2, 1, 0) - 1000)
    assert found.affine is not None
    # the normal of (back, feet) is to the right: -x of DICOM, +x of NIfTI
    np.testing.assert_allclose(found.affine @ [0, 0, 0, 1], [-10, -20, 30, 1])
    np.testing.assert_allclose(found.affine @ [1, 0, 0, 0], [0, -0.75, 0, 0])
    np.testing.assert_allclose(found.affine @ [0, 1, 0, 0], [0, 0, -0.5, 0])
    np.testing.assert_allclose(found.affine @ [0, 0, 1, 0], [2.5, 0, 0, 0])
    assert image.files([folder]) == [str(folder)]


def test_a_file_names_its_series(folder: Path) -> None:
    other = write(folder, 0, VOXELS[0], series="1.2.3")
    write(folder, 1, VOXELS[0], series="1.2.3")
    with pytest.raises(
        ImageError, match=r"2 series .* name a file .*a00.0000.dcm: CT, 6 slices; .*b00.0000.dcm: CT, 2"
    ):
        volume.read(folder)
    assert volume.read(other).data.shape == (5, 8, 2)
    assert volume.read(folder / "a00.0000.dcm").data.shape == (5, 8, 6)


def keep(path: Path, count: int) -> None:
    """Keep the first *count* bytes."""
    path.write_bytes(path.read_bytes()[:count])


def cut(path: Path, count: int = 20) -> None:
    path.write_bytes(path.read_bytes()[:-count])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: (f / "a02.5000.dcm").unlink(),
            "1 slice is missing between -10 and -5 mm: slices are 2.5 mm apart; copy",
        ),
        (lambda f: write(f, 13.5, VOXELS[0]), "slices are uneven between 2.5 and 3.5 mm"),
        (lambda f: write(f, 5.0001, VOXELS[0]), r"two slices lie at -5 mm \(a05.0000.dcm and .*\); keep one scan"),
        (lambda f: write(f, 15, VOXELS[0, :4]), "slices of several sizes: 5 x 8, but 5 x 4 in .*dcm; leave out"),
        (lambda f: write(f, 15, VOXELS[0], PixelSpacing=[1, 1]), "slices of several directions or pixel spacings"),
        (lambda f: write(f, 15, VOXELS[0], ImagePositionPatient=None), "does not say where its slice lies"),
        (
            lambda f: write(f, 15, VOXELS[0], ImageOrientationPatient=[0] * 6),
            "its ImageOrientationPatient, 0, 0, 0, 0, 0, 0, is no two perpendicular directions of length 1; export",
        ),
        (lambda f: write(f, 15, VOXELS[0], NumberOfFrames=3), "has 3 frames in one file, no grey slice; convert it"),
        (lambda f: write(f, 15, VOXELS[0], SamplesPerPixel=3), "has colours, no grey slice"),
        (
            lambda f: write(f, 15, VOXELS[0], PixelData=bytes(7)),
            r"one that is damaged or cut off \(ValueError\); copy the file again",
        ),
        (lambda f: write(f, 15, VOXELS[0], PixelData=None), "has no pixels, or is cut off before them; copy"),
        (lambda f: keep(f / "a05.0000.dcm", 150), "a05.0000.dcm: lacks Rows, Columns, or is cut off before; copy or"),
        (lambda f: cut(f / "a05.0000.dcm", 200), "a05.0000.dcm: lacks Rows, Columns, or is cut off before; copy or"),
        (
            lambda f: write(f, 15, VOXELS[0], RescaleSlope=0),
            "its RescaleSlope is 0, so .*; export the",
        ),
        (lambda f: write(f, 15, VOXELS[0], RescaleSlope=""), "its RescaleSlope is no number, so its values cannot"),
        (lambda f: write(f, 15, VOXELS[0], Columns=None), "dcm: lacks Columns, or is cut off before; copy or exp"),
        (
            lambda f: write(f, 15, VOXELS[0], BitsAllocated=None, PixelRepresentation=None),
            "dcm: lacks BitsAllocated, PixelRepresentation, or is cut",
        ),
        (lambda f: (f / "a05.0000.dcm").write_bytes(b""), "a05.0000.dcm: the file is empty; copy the series again"),
        (
            lambda f: cut(f / "a05.0000.dcm"),
            "a05.0000.dcm: no DICOM file, or one that is damaged or cut off",
        ),
    ],
)
def test_what_is_no_series(folder: Path, change: Callable[[Path], object], message: str) -> None:
    change(folder)
    with pytest.raises(ImageError, match=message) as caught:
        volume.read(folder)
    assert "\n" not in str(caught.value)
    assert NAME not in str(caught.value)


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        (
            "1.2.840.10008.1.2.4.80",
            r"is compressed \(JPEG-LS .*\); pip install pylibjpeg pylibjpeg-libjpeg, or decompress",
        ),
        ("1.2.840.10008.1.2.4.90", r"is compressed \(JPEG 2000 .*\); pip install pylibjpeg pylibjpeg-openjpeg"),
    ],
)
def test_a_compression_without_a_decoder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, message: str
) -> None:
    decoder, lacking = pydicom.pixels.get_decoder, SimpleNamespace(is_available=False)
    monkeypatch.setattr(pydicom.pixels, "get_decoder", lambda one: lacking if one == syntax else decoder(one))
    write(folder, 15, VOXELS[0], syntax=syntax)
    with pytest.raises(ImageError, match=message):
        volume.read(folder)


def test_folders_without_a_series(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no DICOM file with an image is in the folder; name that of the series"):
        volume.read(tmp_path)
    write(tmp_path, 0, VOXELS[0])
    with pytest.raises(ImageError, match="the series is a single slice, no volume; name the folder with all"):
        volume.read(tmp_path)


def test_without_pydicom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ImageError, match=r"DICOM files need pydicom; pip install 'onnxcam\[volumes\]'"):
        volume.read(folder)


def test_a_series_is_explained_and_nothing_of_the_patient_goes_out(
    folder: Path, tmp_path: Path, onnxcam: Callable[..., Ran]
) -> None:
    nibabel = pytest.importorskip("nibabel")
    (tmp_path / "net.onnx").write_bytes(network(4, 4, 4))
    options = ["--window", "4,4,4", "--preprocess", "zscore", "--maps", "all", "-o", str(tmp_path / "out")]
    ran = onnxcam("explain", str(tmp_path / "net.onnx"), str(folder), *options)
    assert ran.code == 0, ran.err
    (path,) = (tmp_path / "out").glob("scan-*-map.nii.gz")
    found = nibabel.load(path)
    assert found.shape == (5, 8, 6)
    np.testing.assert_allclose(found.affine, volume.read(folder).affine)
    written = [one.read_bytes() for one in (tmp_path / "out").rglob("*") if one.is_file()]
    everything = b"".join([ran.out.encode(), ran.err.encode(), *written, gzip.decompress(path.read_bytes())])
    for secret in (NAME, "Mustermann", "ID-4711", "19700101", SERIES):
        assert secret.encode() not in everything
