"""Layers in recordings: sketches keep the cosine, and `compare --layers` finds the layer that `validate` finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.layer_agreement import first_jump
from onnxcam.compare.layer_recordings import FILE, SKETCH, sketch
from onnxcam.compare.layers import compare_layers
from onnxcam.compare.observer import Observer
from onnxcam.compare.record import record
from onnxcam.compare.similarity import cosine
from onnxcam.errors import RecordingError
from tests.command import Ran
from tests.compare.test_layers import broken_at
from tests.compare.twins import PICTURES, SHAPES


@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_a_sketch_keeps_the_cosine(noise: float) -> None:
    random = np.random.default_rng(0)
    a = np.maximum(random.standard_normal(60_000), 0)
    b = a + noise * random.standard_normal(60_000)
    assert sketch(a).shape == (SKETCH,)
    assert 1 - cosine(sketch(a), sketch(b)) == pytest.approx(1 - cosine(a, b), rel=0.1)


def test_few_values_are_kept() -> None:
    np.testing.assert_array_equal(sketch(np.arange(7)), np.arange(7))


def test_a_sketch_is_the_same_on_all_machines() -> None:
    """Numbers of NumPy's frozen generator: a change would make old recordings incomparable."""
    found = sketch(np.ones(5000))
    assert found[:8].tolist() == EXPECTED


EXPECTED = [1.0, 0.0, 1.0, 1.0, -2.0, 4.0, -1.0, -1.0]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    broken = broken_at(folder / "broken.onnx", -1)
    record(SHAPES, PICTURES, folder / "a", layers=True)
    record(broken, PICTURES, folder / "b", layers=True, explain_from=folder / "a")
    record(SHAPES, PICTURES, folder / "plain")
    return folder


def test_recordings_name_the_layer_that_validate_names(recordings: Path) -> None:
    found = compare_recordings(recordings / "a", recordings / "b", layers=True)
    sides = Observer(SHAPES), Observer(recordings / "broken.onnx")
    direct = compare_layers(*sides, [str(picture) for picture in PICTURES])
    assert [level.reference for level in found.levels] == [level.reference for level in direct]
    assert first_jump(found.levels) == first_jump(direct) is not None
    for one, other in zip(found.levels, direct, strict=True):
        assert one.distance == pytest.approx(other.distance, rel=0.25, abs=1e-4)
        assert one.iou == pytest.approx(other.iou, abs=1e-3)


def test_the_same_model_twice(recordings: Path) -> None:
    levels = compare_recordings(recordings / "a", recordings / "a", layers=True).levels
    assert first_jump(levels) is None
    assert all(level.activations == pytest.approx(1) for level in levels)


def test_the_command(onnxcam: Callable[..., Ran], recordings: Path) -> None:
    ran = onnxcam("compare", recordings / "a", recordings / "b", "--layers", "-o", "out")
    assert "layers: they begin to differ at layer5" in ran.err
    assert "Agreement by layer" in Path("out/report.html").read_text("utf-8")
    assert json.loads(Path("out/validation.json").read_text("utf-8"))["layers_differ_at"].startswith("layer5")
    without = onnxcam("compare", recordings / "a", recordings / "plain", "--layers", "-o", "none")
    assert (without.code, "has no layers; record it with --layers" in without.err) == (2, True)


def test_damaged_layers(recordings: Path, tmp_path: Path) -> None:
    record(SHAPES, PICTURES, tmp_path / "c", layers=True)
    path = tmp_path / "c" / FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordingError, match=r"layers\.npz is damaged; copy the whole folder again"):
        compare_recordings(recordings / "a", tmp_path / "c", layers=True)
