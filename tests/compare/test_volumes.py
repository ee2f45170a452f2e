"""Validation of networks of volumes: metrics on three axes, distances in millimetres, planes in the report."""

from __future__ import annotations

import argparse
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam.compare.alignment import CELLS, MapEvidence, common_grid
from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.device_runner import DevicePack
from onnxcam.compare.device_runner import record as on_device
from onnxcam.compare.observer import Observer
from onnxcam.compare.pack import pack
from onnxcam.compare.record import record
from onnxcam.compare.recording_files import is_framed
from onnxcam.compare.recordings import Recording
from onnxcam.compare.report.canvas import canvas_of
from onnxcam.compare.report.html import html
from onnxcam.compare.report.panel import panel
from onnxcam.compare.tasks.value_maps import ValueMapPrediction
from onnxcam.compare.validate import validate
from onnxcam.compare.validation import Validation
from onnxcam.diagnosis.diagnose import Subject
from onnxcam.errors import DiagnosisError, ImageError, MetricError
from onnxcam.media import image
from onnxcam.media.frame import Extent
from onnxcam.metrics import Truth
from tests.balls import SIZE, SPACING, ball, inside, int8, network
from tests.command import Ran

nibabel = pytest.importorskip("nibabel", reason="the extra onnxcam[volumes] is not installed")

PLACES = ((5, 8, 8), (6, 12, 5))
TOLD: dict[str, Any] = {"preprocess": "raw", "method": "gradcam"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, scans of a ball, and masks of it."""
    made = tmp_path_factory.mktemp("volumes")
    onnx.save(network(), made / "float.onnx")
    onnx.save(network(shift=2), made / "moved.onnx")
    onnx.save(network(pads=0), made / "valid.onnx")
    onnx.save(network(head="cells"), made / "cells.onnx")
    int8(made / "float.onnx", made / "int8.onnx")
    int8(made / "cells.onnx", made / "cells8.onnx")
    for name in ("scans", "masks"):
        (made / name).mkdir()
    for number, at in enumerate(PLACES):
        affine = np.diag([*SPACING, 1.0])
        nibabel.save(nibabel.Nifti1Image(ball(at), affine), made / "scans" / f"{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(inside(at).astype(np.uint8), affine), made / "masks" / f"{number}_seg.nii.gz")
    return made


def against(folder: Path, candidate: str, reference: str = "float.onnx", **more: Any) -> Validation:
    return validate(folder / reference, folder / candidate, folder / "scans", **{**TOLD, **more})


def test_float_and_int8_agree_and_the_report_shows_three_planes(folder: Path, tmp_path: Path) -> None:
    found = against(folder, "int8.onnx", directory=tmp_path / "out", truth=folder / "masks")
    assert found.passed
    assert found.summaries["pearson"].mean > 0.99
    assert found.summaries["ssim"].mean > 0.99
    assert found.summaries["energy"].mean > 0.25  # 0.03 by chance
    pair = found.journal[0]  # read from the journal
    assert pair.size == SIZE
    (kept, _) = pair.maps
    assert kept is not None
    assert kept.shape == (34, 56, 45)
    picture = canvas_of(pair).maps(pair.objects[0])[0]
    assert picture is not None
    size = [n * length * 320 / 24 for n, length in zip(SIZE, SPACING, strict=True)]
    assert abs(len(picture) - (size[1] + 2 * size[2] + 3 * 22 + 2 * 6)) < 3  # axial, coronal, sagittal
    page = html(found)
    assert re.search(r"<dt>peak</dt><dd>0\.000 = 0\.0 mm</dd>", page)
    drawn = panel(pair)
    assert (drawn.missing, drawn.width, drawn.height) == ("", picture.shape[1], picture.shape[0])
    found.save(tmp_path / "out")
    assert image.read(tmp_path / "out" / "worst.png").shape[1] > 960


def test_a_candidate_that_looks_elsewhere_fails_by_the_distance_in_millimetres(folder: Path) -> None:
    found = against(folder, "moved.onnx", require="peak<=0.01")
    assert not found.passed
    for pair in found.journal:
        diagonal, unit = pair.diagonal
        assert unit == "mm"
        for metric in ("peak", "shift"):
            assert abs(pair.values[metric] * diagonal - 2 * SPACING[0]) < 0.3


def test_planes_go_through_the_largest_value(folder: Path) -> None:
    found = against(folder, "moved.onnx")
    view = canvas_of(found.journal[0]).view  # type: ignore[attr-defined]
    assert np.abs(np.subtract(view.at, PLACES[0])).max() <= 1


def test_a_map_without_padding_covers_a_part(folder: Path) -> None:
    observer = Observer(folder / "valid.onnx", **TOLD)
    (outcome,) = observer.outcomes([observer.prepare(folder / "scans" / "0.nii.gz")])
    assert outcome.maps[0].map is not None
    assert outcome.maps[0].map.shape == (8, 16, 12)
    found = against(folder, "valid.onnx")
    assert found.passed
    assert found.summaries["peak"].mean < 0.05


def test_recordings_of_volumes(folder: Path, tmp_path: Path) -> None:
    for name in ("float", "moved"):
        record(folder / f"{name}.onnx", [folder / "scans" / "0.nii.gz"], tmp_path / name, **TOLD)
    seen = Recording(tmp_path / "float")[0]
    assert (seen.size, seen.spacing) == (SIZE, SPACING)
    found = compare_recordings(tmp_path / "float", tmp_path / "moved", images=[folder / "scans"])
    now = against(folder, "moved.onnx").journal[0]
    assert found.journal[0].values == pytest.approx(now.values)
    assert panel(found.journal[0], found.folders).missing == ""
    assert "is not opened" in panel(found.journal[0], []).missing


def test_segmentations_of_volumes(folder: Path, tmp_path: Path) -> None:
    truth = Truth(folder / "masks", "class")
    found = against(folder, "cells8.onnx", "cells.onnx", method="auto", truth=truth, directory=tmp_path / "out")
    assert found.truth is not None
    assert min(found.truth.values["miou"]) > 0.9
    drawn = canvas_of(found.journal[0]).outputs(found.journal[0])
    assert drawn is not None
    reference, candidate, difference = drawn
    assert len(np.unique(reference[:150].reshape(-1, 3), axis=0)) > 2  # the ball in the axial plane
    assert reference.shape == candidate.shape == difference.shape
    assert found.summaries["class_iou"].mean > 0.9
    assert found.summaries["boundary"].mean > 0.9
    assert found.passed


def test_one_line_for_what_does_not_fit(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", ball(PLACES[0])[2:])
    with pytest.raises(ImageError, match=r"the model takes volumes of 12 × 20 × 16, and this one is 10 × 20 × 16"):
        validate(folder / "float.onnx", folder / "float.onnx", tmp_path / "small.npy", **TOLD)
    points = network(head="cells")
    onnx.helper.set_model_props(points, {"onnxcam": json.dumps({"schema": 1, "task": "keypoints"})})
    with pytest.raises(MetricError, match=r"takes volumes and is a keypoint model, which is compared in images"):
        Observer(points)
    values = ValueMapPrediction(ball(PLACES[0])[None])
    assert values.drawing(values) is None  # maps of values of a volume are compared and not drawn
    assert values.compare(values).values["value_correlation"] == pytest.approx(1)
    clips = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        clips (float[n, 3, 4, 8, 8] x) => (float[n, 3] y) { p = GlobalAveragePool(x) y = Flatten(p) }"""
    )
    with pytest.raises(MetricError, match=r"only models of images, signals and volumes can be compared"):
        Observer(clips)


def test_packs_of_volumes_hold_them(folder: Path, tmp_path: Path) -> None:
    scan, told = folder / "scans" / "0.nii.gz", {"preprocess": "raw"}
    pack(folder / "float.onnx", tmp_path / "pack.zip", [scan], **told)  # type: ignore[arg-type]
    with zipfile.ZipFile(tmp_path / "pack.zip") as packed:
        packed.extractall(tmp_path / "device")
    device = DevicePack(tmp_path / "device")
    on_device(device, argparse.Namespace(pictures=[], output=tmp_path / "run", provider="cpu", threads=1, class_=-1))
    record(folder / "float.onnx", [scan], tmp_path / "host", **told)  # type: ignore[arg-type]
    found = compare_recordings(tmp_path / "host", tmp_path / "run")
    assert found.passed
    assert found.journal[0].values["pearson"] > 0.9999
    with pytest.raises(ImageError, match="takes volumes, which a pack holds: give them with --images"):
        pack(folder / "float.onnx", tmp_path / "none.zip", **told)  # type: ignore[arg-type]
    with pytest.raises(MetricError, match=r"of volumes is for classifiers, and .* is a segmentation"):
        pack(folder / "cells.onnx", tmp_path / "none.zip", [scan], **told)  # type: ignore[arg-type]


def test_layers_agree_and_a_diagnosis_is_refused_in_one_line(folder: Path) -> None:
    assert against(folder, "int8.onnx", layers=True).levels[-1].iou > 0.8
    with pytest.raises(DiagnosisError, match="takes signals or volumes, and networks of images are diagnosed"):
        Subject.open(folder / "float.onnx", folder / "int8.onnx", folder / "scans", **TOLD)


@pytest.mark.parametrize("command", ["validate", "evaluate"])
def test_windows_are_refused_in_one_line(command: str, onnxcam: Callable[..., Ran], folder: Path) -> None:
    models = [folder / "float.onnx"] * (2 if command == "validate" else 1)
    ran = onnxcam(command, *models, folder / "scans" / "0.nii.gz", "--window", "8,8,8")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.strip().startswith("error: --window is for `onnxcam explain`: here the network takes whole inputs")


def test_a_map_of_a_recording_may_not_exhaust_memory() -> None:
    told = {"size": [64, 64, 64], "frame": None}
    assert is_framed(told, [[2048, 2, 2]])
    assert not is_framed(told, [[2049, 2, 2]])
    assert not is_framed(told, [[8, 8]])  # of an image
    assert not is_framed({**told, "frame": [0, 0, 0, 1, 64, 64]}, [[8, 8, 64]])
    size, whole = (64, 64, 64), Extent(((0.0, 64.0),) * 3)
    long = [MapEvidence(np.zeros(shape, np.float32), whole, size) for shape in ((2048, 1, 1), (1, 2048, 2048))]
    grid = common_grid(*long)
    assert grid is not None
    assert np.prod(grid.shape) <= CELLS
    assert min(grid.shape) >= 56


def test_explain_guesses_one_scaling_however_often_it_is_stopped(folder: Path, onnxcam: Callable[..., Ran]) -> None:
    """And a header whose affine is zero places no voxel."""
    scan = ball(PLACES[0])
    np.save("a.npy", np.uint8(255 * np.clip(scan, 0, 1)))
    Path("b.npy").write_bytes(b"")
    nibabel.save(nibabel.Nifti1Image(np.float32(9 * scan), np.eye(4)), "c.nii")
    header = Path("c.nii").read_bytes()
    Path("c.nii").write_bytes(header[:280] + bytes(48) + header[328:])
    words = ("explain", folder / "float.onnx", "a.npy", "b.npy", "c.nii", "--maps", "all", "-o")
    assert onnxcam(*words, "out", "--strict").code == 2
    np.save("b.npy", scan)
    scores = []
    for place in ("out", "fresh"):
        ran = onnxcam(*words, place)
        assert ran.code == 0, ran.err
        scores.append([entry["score"] for entry in json.loads(Path(place, "manifest.json").read_text("utf-8"))])
    assert scores[0] == scores[1]
    assert len(scores[0]) == 3


@pytest.mark.parametrize("command", ["validate", "record", "evaluate", "pack"])
def test_what_is_left_out_has_a_name(command: str, folder: Path, onnxcam: Callable[..., Ran]) -> None:
    model, scan = folder / "float.onnx", ball(PLACES[0])
    np.save("scan.npy", scan)
    np.save("short.npy", scan[:8])
    more = {"validate": [model], "evaluate": ["--metric", "sparseness"]}.get(command, [])
    scans = ["--images", "scan.npy", "--images", "short.npy"] if command == "pack" else ["scan.npy", "short.npy"]
    ran = onnxcam(command, model, *more, *scans, "-p", "raw", "-o", "out.zip" if command == "pack" else "out")
    assert "left out: short.npy: the model takes volumes of" in ran.err
