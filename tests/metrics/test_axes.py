"""Evaluation of networks of volumes and of signals: every group of metrics on maps of one and of three axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam.errors import MetricError, TruthError
from onnxcam.metrics import evaluate
from onnxcam.metrics.localisation import box_iou, pointing_game
from onnxcam.metrics.road import neighbours, noisy_linear_imputation
from onnxcam.metrics.truth import Truth
from tests.balls import SIZE, ball, inside, network
from tests.explainer.test_signals import network as of_signals
from tests.explainer.test_signals import step

FEW = {"insertion.steps": 8, "deletion.steps": 8, "infidelity.samples": 30, "max-sensitivity.samples": 2}
TOLD: dict[str, Any] = {"metrics": ["all"], "preprocess": "raw", "settings": FEW, "baselines": True}
PLACES = ((5, 8, 8), (6, 12, 5))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, volumes of a ball, and its masks."""
    folder = tmp_path_factory.mktemp("axes")
    onnx.save(network(), folder / "net.onnx")
    for name in ("scans", "masks"):
        (folder / name).mkdir()
    for number, at in enumerate(PLACES):
        np.save(folder / "scans" / f"{number}.npy", ball(at))
        np.save(folder / "masks" / f"{number}.npy", inside(at))
    return folder


def test_volumes_by_every_metric(volumes: Path) -> None:
    scans = [volumes / "scans" / f"{number}.npy" for number in range(2)]
    found = evaluate(
        volumes / "net.onnx", scans, methods=["gradcam", "gradient-x-input"], truth=volumes / "masks", **TOLD
    )
    means = {(row.metric, row.method): row.mean for row in found.summary()}
    assert set(found.better) >= {"pointing-game", "box-iou", "deletion", "road-morf", "infidelity", "sanity-target"}
    assert all(np.isfinite(list(means.values())))
    for metric, better in (
        ("pointing-game", 1),
        ("energy-pointing", 1),
        ("box-iou", 1),
        ("insertion", 1),
        ("deletion", -1),
    ):
        assert better * means[metric, "gradcam"] >= better * means[metric, "random"]
    assert means["pointing-game", "gradcam"] == 1
    assert means["energy-pointing", "gradcam"] > 5 * means["energy-pointing", "random"]


@pytest.mark.parametrize("form", ["nct", "ntc", "nt", "n1ct"])
def test_signals_by_every_metric(form: str, tmp_path: Path) -> None:
    onnx.save(of_signals(form), tmp_path / "net.onnx")
    rows = {at: step(at)[0] if form == "nt" else step(at) for at in (15, 25)}
    for at, values in rows.items():
        np.save(tmp_path / f"{at}.npy", values)
    boxes = "".join(f"{at}.npy,0,{at - 2},0,{at + 3},{2 if form == 'n1ct' else 1}\n" for at in rows)
    (tmp_path / "truth.csv").write_text(f"image,label,x1,y1,x2,y2\n{boxes}")
    names = [tmp_path / f"{at}.npy" for at in rows]
    more = {"pointing-game.tolerance": 2}
    found = evaluate(
        tmp_path / "net.onnx", names, truth=tmp_path / "truth.csv", **{**TOLD, "settings": {**FEW, **more}}
    )
    means = {(row.metric, row.method): row.mean for row in found.summary()}
    assert all(np.isfinite(list(means.values())))
    assert means["pointing-game", "gradcam"] == 1
    assert means["box-iou", "gradcam"] > means["box-iou", "centre"]


def test_boxes_and_peaks_on_three_axes() -> None:
    heat = np.zeros((4, 5, 6))
    heat[1:3, 2:4, 3:5] = 1
    heat[0, 0, 0] = 0.9  # touches nothing
    assert box_iou(heat, [(3, 2, 1, 5, 4, 3)]) == 1
    assert box_iou(heat, [(3, 2, 1, 5, 4, 2)]) == 0.5
    mask = heat == 0.9
    assert pointing_game(heat, mask, tolerance=3) == 0  # √14 away
    assert pointing_game(heat, mask, tolerance=4) == 1


def test_imputation_on_three_axes_keeps_a_plane() -> None:
    """A linear function is its own mean over neighbours that lie evenly around."""
    rng = np.random.default_rng(0)
    x = np.add.outer(np.add.outer(np.arange(7.0), 2 * np.arange(8.0)), 3 * np.arange(9.0))[None]
    missing = np.zeros(x.shape[1:], bool)
    missing[1:-1, 1:-1, 1:-1] = rng.random((5, 6, 7)) < 0.7
    found = noisy_linear_imputation(x, missing, np.zeros((1, 1, 1, 1)), rng)
    np.testing.assert_allclose(found, x, atol=2e-3)
    assert neighbours(2)[0, 1] == 2 * neighbours(2)[1, 1] == 1 / 6
    assert len(neighbours(3)) == 26


def test_one_line_for_a_truth_that_does_not_fit(volumes: Path, tmp_path: Path) -> None:
    scan = volumes / "scans" / "0.npy"
    (tmp_path / "truth.csv").write_text("image,label,x1,y1,x2,y2\n0.npy,0,1,1,4,4\n")
    with pytest.raises(TruthError, match=r"has places in images \(CSV with a header\), and 0.npy is a volume; give a "):
        evaluate(volumes / "net.onnx", [scan], truth=tmp_path / "truth.csv", preprocess="raw")
    for name, mask, why in (
        ("small", inside(PLACES[0])[1:], "the mask is 11 × 20 × 16, the input 12 × 20 × 16; scale it"),
        ("half", ball(PLACES[0]), "a mask holds whole numbers from 0 to 32768; save it so"),
        ("none", np.zeros(SIZE, bool), "the mask is empty"),
    ):
        np.save(tmp_path / f"{name}.npy", mask)
        with pytest.raises(TruthError, match=why):
            Truth(tmp_path / f"{name}.npy").required(scan, SIZE)
    with pytest.raises(TruthError, match=r"no mask for 9.nii.gz: .* has none of 9, 9_mask, 9_masks, 9_seg, with .nii"):
        Truth(volumes / "masks").required("9.nii.gz", SIZE)
    clips = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        clips (float[n, 3, 4, 8, 8] x) => (float[n, 3] y) { p = GlobalAveragePool(x) y = Flatten(p) }"""
    )
    with pytest.raises(MetricError, match="evaluate measures maps of images, signals and volumes"):
        evaluate(clips, [scan])
