"""docs/volumes.md is true: its commands and its Python run as written, and write what it says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import world3d
from onnxcam.methods import METHODS
from tests.cli.test_cli import SHAPES, Run
from tests.docs_pages import DOCS, follow
from tests.explainer.test_tiled import MODELS
from tests.media.test_dicom import write

nibabel = pytest.importorskip("nibabel")


def test_the_page(onnxcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(MODELS / "volumes.onnx", "net.onnx")
    rng = np.random.default_rng(3)
    image = np.concatenate([world3d.sample(rng).image for _ in range(2)])
    affine = np.diag([1.0, 1, 2, 1])
    nibabel.save(nibabel.Nifti1Image(image, affine), "scan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(world3d.sample(rng).image, np.eye(4)), "cube.nii.gz")
    Path("series").mkdir()
    for number, pixels in enumerate(np.round(1000 * image[:40]).astype(np.int16)):
        write(Path("series"), 2.5 * number, pixels, RescaleSlope=0.001, RescaleIntercept=0)
    assert len(follow("volumes.md", onnxcam)) == 3
    (path,) = Path("nifti").glob("scan-class-ring-*-map.nii.gz")
    found = nibabel.load(path)
    np.testing.assert_array_equal(found.affine, affine)
    assert found.shape == image.shape
    assert len(list(Path("dicom").glob("series-*-overlay.jpg"))) == 1
    assert {one.name.rpartition("-")[2] for one in Path("python").iterdir()} == {"raw.npy", "map.nii.gz", "overlay.png"}


def test_the_page_names_the_methods_that_add_up() -> None:
    text = (DOCS / "volumes.md").read_text("utf-8")
    listed = re.search(r"For\n?(.*?)Others are refused", text, re.DOTALL)
    assert listed is not None
    assert set(re.findall("`(.*?)`", listed[1])) == {method.id for method in METHODS.values() if method.additive}


def test_a_window_in_other_words(onnxcam: Run) -> None:
    ran = onnxcam("explain", str(MODELS / "volumes.onnx"), str(SHAPES), "--window", "64,big")
    assert ran.code == 2
    assert "--window takes a length for each axis, such as --window 64,64,64, not '64,big'" in ran.err


def test_a_series_is_no_picture(onnxcam: Run, tmp_path: Path) -> None:
    write(tmp_path, 0, np.zeros((4, 4), np.int16))
    ran = onnxcam("explain", str(SHAPES), str(tmp_path))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "is a folder, not an image" in ran.err
