"""Recording: by the function that validates, resumed after a kill, of another recording's classes, of baked files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.compare.device_runner import RecordingWriter
from onnxcam.compare.observer import Observer
from onnxcam.compare.outcome import Outcome
from onnxcam.compare.record import _add, record
from onnxcam.compare.recordings import Recording
from onnxcam.errors import EngineError, ImageError, OutputError, RecordingError, TargetError
from tests.command import Ran
from tests.compare.recordings import SHAPES, photos, room
from tests.quantized import qdq

FILES = ("recording.json", "scores.bin", "maps.bin", "classes.bin")


def test_a_recording_holds_what_the_explainer_says(tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 3)
    made = record(SHAPES, pictures, tmp_path / "run", "layercam")
    assert (made.pictures, made.info.method) == (3, "layercam")
    explainer = Explainer(SHAPES, method="layercam")
    for path, outcome in zip(pictures, Recording(tmp_path / "run"), strict=True):
        expected = explainer(path)
        assert (outcome.picture, outcome.target) == (str(path), expected.target)
        np.testing.assert_allclose(outcome.map, expected.raw, atol=1e-6)
        np.testing.assert_allclose(outcome.prediction.scores, expected.outputs["logits"][0], atol=1e-5)
        assert outcome.prediction.probabilities is not None
        assert outcome.prediction.probabilities[outcome.target] == pytest.approx(expected.probability, abs=1e-6)


def test_outcomes_come_back_as_they_were_observed(tmp_path: Path) -> None:
    (tmp_path / "int8.onnx").write_bytes(qdq(integer=True).SerializeToString())
    pictures = photos(tmp_path / "p", 2)
    for model, how in ((SHAPES, "resize=120,crop=96x96"), (tmp_path / "int8.onnx", None)):
        observer = Observer(model, preprocess=how)
        record(model, pictures, tmp_path / f"run-{Path(model).stem}", preprocess=how)
        recording = Recording(tmp_path / f"run-{Path(model).stem}")
        assert recording.info == observer.info
        for path, found in zip(pictures, recording, strict=True):
            (expected,) = observer.outcomes([observer.prepare(path)])
            same(found, expected)


def same(found: Outcome, expected: Outcome) -> None:
    """Assert that two outcomes agree but for the rounding of a batch."""
    for name in ("picture", "sha256", "size", "frame"):
        assert getattr(found, name) == getattr(expected, name), name
    assert type(found.prediction) is type(expected.prediction)
    for name, value in vars(expected.prediction).items():
        mine = getattr(found.prediction, name)
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(mine, value, rtol=1e-4, atol=1e-6)
        else:
            assert mine == (tuple(value) if isinstance(value, list) else value), name
    for one, other in zip(found.maps, expected.maps, strict=True):
        assert replace(one, map=None) == replace(other, map=None)
        np.testing.assert_allclose(one.map, other.map, rtol=1e-4, atol=1e-6)


def test_a_kill_costs_nothing(tmp_path: Path) -> None:
    pictures = [*map(str, photos(tmp_path / "p", 6))]
    record(SHAPES, pictures, tmp_path / "whole")
    code = f"""
import os, signal
from onnxcam.compare import device_runner as device, record
device.EVERY, record.BATCH = 0, 1
def killed(items, total):
    for number, item in enumerate(items):
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item
record.record({str(SHAPES)!r}, {pictures!r}, {str(tmp_path / "run")!r}, progress=killed)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True)
    assert done.returncode == -9
    with pytest.raises(RecordingError, match="is not complete, it ends after 4 images; repeat the command to resume"):
        Recording(tmp_path / "run")
    seen: list[Any] = []
    record(SHAPES, pictures, tmp_path / "run", progress=lambda items, _: (seen.append(item) or item for item in items))
    for file in FILES:
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_run_that_goes_on_asks_for_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, ask, asked = photos(tmp_path / "p", 11), Observer.outcomes, list[list[str]]()
    pictures.insert(2, tmp_path / "bad.png")

    def spying(self: Observer, shots: Any, classes: Any = None) -> Any:
        asked.append([Path(shot.picture).name for shot in shots])
        return ask(self, shots, classes)

    class Killed(BaseException):
        pass

    def killed(self: RecordingWriter, *told: Any) -> None:
        if len(self.pictures) == 5:
            raise Killed
        add(self, *told)

    monkeypatch.setattr(Observer, "outcomes", spying)
    record(SHAPES, pictures, tmp_path / "whole")
    whole, add = asked[:], RecordingWriter.add
    with monkeypatch.context() as patch:
        patch.setattr(RecordingWriter, "add", killed)
        with pytest.raises(Killed):
            record(SHAPES, pictures, tmp_path / "run")
    asked.clear()
    made = record(SHAPES, pictures, tmp_path / "run")
    assert asked == whole
    assert (made.pictures, len(made.unreadable), made.damaged) == (11, 1, "")
    for file in FILES:
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_picture_named_twice_stands_there_twice(tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 2)
    record(SHAPES, [*pictures, *pictures], tmp_path / "whole")
    writer = RecordingWriter(tmp_path / "run", record_header(tmp_path / "whole"))
    for outcome in Recording(tmp_path / "whole"):
        if len(writer.pictures) < 3:
            _add(writer, outcome)
    writer.leave()
    record(SHAPES, [*pictures, *pictures], tmp_path / "run")
    assert len(Recording(tmp_path / "whole")) == 4
    for file in FILES:
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def record_header(folder: Path) -> dict[str, Any]:
    told = json.loads((folder / "recording.json").read_text())
    return {name: told[name] for name in ("format", "version", "model", "scores", "labels", "target")}


@pytest.mark.parametrize("output", ["x" * 300, "file/run"])
def test_a_folder_that_cannot_be_made(output: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = r"cannot write into '.*': .*; make room there, or choose another folder"
    with pytest.raises(OutputError, match=message):
        record(SHAPES, photos(tmp_path / "p", 1), tmp_path / output)


def test_a_full_disk(tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 3)
    record(SHAPES, pictures, tmp_path / "whole")
    with room(1000), pytest.raises(OutputError, match=r"cannot write into '.*run': File too large; make room there"):
        record(SHAPES, pictures, tmp_path / "run")
    record(SHAPES, pictures, tmp_path / "run")
    for file in FILES:
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_the_classes_of_another_recording(tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 3)
    record(SHAPES, pictures, tmp_path / "star", target="star")
    record(SHAPES, pictures[1:], tmp_path / "run", explain_from=tmp_path / "star")
    assert [one.target for one in Recording(tmp_path / "run")] == [Recording(tmp_path / "star")[0].target] * 2
    (other,) = photos(tmp_path / "q", 1, size=72)
    with pytest.raises(RecordingError, match=r"star' has no image like .*0\.ppm; give the images that it was made of"):
        record(SHAPES, [other], tmp_path / "other", explain_from=tmp_path / "star")
    with pytest.raises(TargetError, match="--target and --explain-from exclude each other; give one"):
        record(SHAPES, pictures, tmp_path / "other", target="star", explain_from=tmp_path / "star")


@pytest.mark.parametrize("settings", [{"raw": True}, {"inside": True, "overlay": True, "target": "input"}])
def test_a_baked_model_is_recorded_by_its_own_method(settings: dict[str, Any], tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 2)
    bake(SHAPES, tmp_path / "baked.onnx", "layercam", **settings)
    record(tmp_path / "baked.onnx", pictures, tmp_path / "run")
    record(SHAPES, pictures, tmp_path / "plain", "layercam")
    found, expected = Recording(tmp_path / "run"), Recording(tmp_path / "plain")
    assert (found.info.method, found.info.layer) == ("layercam", expected.info.layer)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.prediction.scores, other.prediction.scores, atol=1e-4)
        np.testing.assert_allclose(one.map, other.map, atol=1e-4 * float(np.abs(other.map).max()))


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    good, bad = photos(tmp_path / "p", 1)[0], tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    made = record(SHAPES, [bad, good], tmp_path / "run")
    assert [name for name, _ in made.unreadable] == [str(bad)]
    assert Recording(tmp_path / "run").unreadable == list(made.unreadable)
    with pytest.raises(ImageError, match="is not an image that OpenCV reads"):
        record(SHAPES, [good, bad], tmp_path / "strict", strict=True)
    with pytest.raises(ImageError, match="none of the 1 images can be read; the first: "):
        record(SHAPES, [bad], tmp_path / "none")


def test_a_model_that_fails_on_the_way_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, ask = photos(tmp_path / "p", 10), Observer.outcomes

    def failing(self: Observer, shots: Any, classes: Any = None) -> Any:
        if len(shots) < 8:
            raise EngineError("ONNX Runtime failed: out of memory")
        return ask(self, shots, classes)

    with monkeypatch.context() as patch:
        patch.setattr(Observer, "outcomes", failing)
        message = r"out of memory; 8 of 10 images are kept in '.*run': repeat the command to resume"
        with pytest.raises(EngineError, match=message):
            record(SHAPES, pictures, tmp_path / "run")
    record(SHAPES, pictures, tmp_path / "run")
    record(SHAPES, pictures, tmp_path / "whole")
    for file in FILES:
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_the_command(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    photos(tmp_path / "p", 2)
    ran = onnxcam("record", SHAPES, "p", "-o", "run", "--method", "layercam")
    assert ran.code == 0, ran.err
    assert "method\tlayercam" in ran.out
    assert len(Recording(tmp_path / "run")) == 2
    again = onnxcam("record", SHAPES, "p", "-o", "run")
    assert (again.code, again.err) == (2, "error: 'run' holds a recording; choose another folder, or delete it\n")
    own = onnxcam("record", SHAPES, "p", "-o", "run", "--explain-from", "run", "--overwrite")
    assert (own.code, own.err) == (2, "error: 'run' is read by --explain-from; choose another folder with -o\n")
    assert onnxcam("record", SHAPES, "p", "-o", "run", "--overwrite").code == 0
    assert Recording(tmp_path / "run").info.method == "gradcam"


def test_the_command_says_what_was_damaged(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    photos(tmp_path / "p", 2)
    assert onnxcam("record", SHAPES, "p", "-o", "whole").code == 0
    writer = RecordingWriter(tmp_path / "run", record_header(tmp_path / "whole"))
    _add(writer, Recording(tmp_path / "whole")[0])
    writer.leave()
    part = tmp_path / "run" / "recording.part"
    part.write_bytes(part.read_bytes().replace(b"0.ppm", b"1.ppm"))
    ran = onnxcam("record", SHAPES, "p", "-o", "run")
    assert (ran.code, "recording.part' is damaged in line 2, or its numbers are" in ran.err) == (0, True)
    assert (tmp_path / "run" / "recording.json").read_bytes() == (tmp_path / "whole" / "recording.json").read_bytes()
