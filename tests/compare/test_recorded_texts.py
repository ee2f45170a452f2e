"""Texts as targets of recordings: here, and on a device that has neither the text tower nor a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.record import record
from onnxcam.compare.recordings import Recording
from onnxcam.compare.validate import validate
from onnxcam.errors import TargetError
from tests.command import Ran
from tests.compare.test_pack import runner, unpacked
from tests.compare.test_texts import STAR


def test_recordings_and_a_device_agree_with_validate(
    towers: Path, bare: Path, onnxcam: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(towers)
    texts = ("--text-model", "text.onnx", "-p", "unit")
    photos = sorted(map(str, Path("photos").iterdir()))
    assert onnxcam("record", "image.onnx", "photos", "-o", "host", "-t", STAR, *texts).code == 0
    assert onnxcam("record", "coarse.onnx", "photos", "-o", "same", "--explain-from", "host", *texts).code == 0
    packing = onnxcam("pack", "coarse.onnx", "-o", "device.zip", "--images", "photos", "-t", STAR, *texts)
    assert packing.code == 0, packing.err
    done = runner(bare, unpacked(Path("device.zip")) / "run.py", "-o", "run")
    assert done.code == 0, done.err
    expected = validate(
        "image.onnx", "coarse.onnx", photos, target=STAR, text_model="text.onnx", preprocess="unit", require="mapped>=0"
    )
    for name in ("same", "run"):
        found = compare_recordings("host", name, require="mapped>=0")
        for one, other in zip(found.journal, expected.journal, strict=True):
            assert one.values == pytest.approx(other.values, abs=1e-4)
            assert one.objects[0].scores == pytest.approx(other.objects[0].scores, abs=1e-5)


def test_what_a_recording_cannot_explain_is_refused(towers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(towers)
    photos = ["photos/0.png"]
    record("image.onnx", photos, "host", target=STAR, text_model="text.onnx", preprocess="unit")
    with pytest.raises(TargetError, match="give the text tower that belongs to the model with --text-model"):
        record("coarse.onnx", photos, "other", explain_from="host", preprocess="unit")
    assert not Path("other").exists()
    Path("net.tflite").write_bytes(b"")
    with pytest.raises(TargetError, match=r"\.tflite files are read as classifiers; leave out --text-model"):
        record("net.tflite", photos, "other", text_model="text.onnx")
    assert np.isfinite(Recording("host")[0].maps[0].score or np.nan)
