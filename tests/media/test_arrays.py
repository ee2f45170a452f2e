"""Arrays and volumes in files: what a header promises is believed only within bounds, and nothing is executed."""

from __future__ import annotations

import gzip
import io
import os
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.errors import ImageError, ModelError
from onnxcam.media import numpy_files, volume

VOXELS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def npy(header: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin1") + body


def described(shape: str, kind: str = "<f4") -> bytes:
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n")


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data)
    return out.getvalue()


def pickled() -> bytes:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, ("opened",)

    out = io.BytesIO()
    np.save(out, np.array([Trap()], object), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize("array", [VOXELS, np.asfortranarray(VOXELS), VOXELS.astype(">i2"), np.float64(3), VOXELS > 3])
def test_arrays_come_back(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", only=array)
    for name in ("a.npy", "a.npz"):
        found = numpy_files.read(tmp_path / name, ModelError)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype
        assert found.flags.writeable


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cannot be read as an array"),
        (b"hello", "cannot be read as an array"),
        (
            described("(1000000, 1000000)"),
            "an array of 1000000 x 1000000 is above the limit of 268435456 numbers",
        ),
        (described("(4,)"), "the array is cut off; copy the file again"),
        (described("(-4, -4)"), "cannot be read as an array (shape (-4, -4))"),
        (described("(4,)", "<U9"), "is an array of <U9, not of numbers"),
        (described("(4,)", "<c8"), "is an array of complex64, not of numbers"),
        (described("(4,)", "V99999999"), "not of numbers"),
        (described("(" * 3000), "cannot be read as an array"),
        (npy("x" * 20000), "cannot be read as an array"),
        (pickled(), "is an array of object, not of numbers; save one of floats or integers"),
        (zipped(a=described("(4,)"), b=described("(4,)")), "2 arrays in it (a, b); give one alone"),
        (zipped(a=described("(70000, 70000)")), "an array of 70000 x 70000 is above the limit"),
        (zipped(a=pickled()), "is an array of object"),
        (b"PK\x03\x04" + bytes(50), "cannot be read as an array"),
    ],
)
def test_what_is_no_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.npy").write_bytes(data)
    with pytest.raises(ModelError) as caught:
        numpy_files.read(Path("bad.npy"), ModelError)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("opened").exists()


def test_an_array_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(ImageError, match=r"pipe.npy: is a pipe, not a volume; give a file"):
        volume.read(tmp_path / "pipe.npy")
    with pytest.raises(ImageError, match=r"none.nii: no such file; check the name"):
        volume.read(tmp_path / "none.nii")


def nifti(tmp_path: Path, **changed: tuple[int, str, float]) -> bytes:
    """A NIfTI file, with numbers (at, format, value) of its header changed."""
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "good.nii")
    data = bytearray((tmp_path / "good.nii").read_bytes())
    for at, form, value in changed.values():
        struct.pack_into(f"<{form}", data, at, value)
    return bytes(data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"x": (42, "h", 30000), "y": (44, "h", 30000)}, "an array of 30000 x 30000 x 4 is above the limit"),
        ({"start": (108, "f", 1e30)}, "its numbers start at byte 1e+30"),
        ({"start": (108, "f", float("nan"))}, "its numbers start at byte nan"),
        ({"kind": (70, "h", 9999)}, "no NIfTI file, or a damaged one"),
        ({"rank": (40, "h", 77)}, "no NIfTI file, or a damaged one"),
        ({"slope": (112, "f", 3e38), "offset": (116, "f", 3e38)}, "holds NaN, infinity or numbers above 1e+30"),
    ],
)
def test_damaged_nifti(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], pack: Any, changed: dict[str, Any], said: str
) -> None:
    path = tmp_path / ("bad.nii" if pack is bytes else "bad.nii.gz")
    path.write_bytes(pack(nifti(tmp_path, **changed)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            volume.read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_nifti_of_zeros_packed(tmp_path: Path) -> None:
    """A megabyte that unpacks to a gigabyte."""
    path = tmp_path / "bomb.nii.gz"
    data = nifti(tmp_path, x=(42, "h", 1024), y=(44, "h", 1024), z=(46, "h", 1024))
    path.write_bytes(gzip.compress(data + bytes(2**20)))
    with pytest.raises(ImageError, match="an array of 1024 x 1024 x 1024 is above the limit"):
        volume.read(path)


def test_good_nifti(tmp_path: Path) -> None:
    nifti(tmp_path)
    np.testing.assert_array_equal(volume.read(tmp_path / "good.nii").data, VOXELS)
