"""The recording on disk: what goes in comes out, a firmware's too; what is not whole or not as it was is refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.edge.device import Trouble, Writer, sealed
from onnxcam.edge.recording import Recording
from onnxcam.errors import RecordingError
from tests.edge.recordings import HEADER, photos, sha, written

DOCS = Path(__file__).parents[2] / "docs" / "recording.md"


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    recording = Recording(written(tmp_path / "run"))
    assert len(recording) == 3
    assert recording.classes == 3
    assert recording.class_names == ["cat", "dog", "bird"]
    assert (recording.side.method, recording.side.layer) == ("gradcam", "conv")
    assert recording.unreadable == [("bad.png", "bad.png: is no picture")]
    assert recording.explained == {sha(number): number for number in range(3)}
    for number, outcome in enumerate(recording):
        rng = np.random.default_rng(number)
        assert (outcome.picture, outcome.sha256, outcome.size) == (f"{number}.png", sha(number), (8, 10))
        if number == 1:
            assert (outcome.map, outcome.why) == (None, "the gradient is zero")
        else:
            assert outcome.map is not None
            np.testing.assert_array_equal(outcome.map, rng.uniform(-1, 1, (4, 5)).astype(np.float32))
        scores = rng.standard_normal(3)
        np.testing.assert_array_equal(outcome.scores, scores.astype(np.float32))
        assert outcome.probabilities is not None
        np.testing.assert_allclose(outcome.probabilities, np.exp(scores) / np.exp(scores).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("meaning", "expected"),
    [
        ({"head": "softmax"}, [0.2, 0.3]),
        ({"head": "logsoftmax"}, [np.exp(0.2), np.exp(0.3)]),
        ({"head": None, "exclusive": False}, [1 / (1 + np.exp(-0.2)), 1 / (1 + np.exp(-0.3))]),
        ({"head": None, "known": False}, None),
    ],
)
def test_what_scores_mean(meaning: dict[str, Any], expected: list[float] | None, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run", {**HEADER, "scores": meaning, "labels": None})
    writer.add({"name": "a", "sha256": sha(0), "size": [4, 4]}, [0.2, 0.3], None, 0)
    writer.close()
    found = Recording(tmp_path / "run")[0].probabilities
    if expected is None:
        assert found is None
    else:
        assert found is not None
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("file", ["recording.json", "scores.bin", "maps.bin", "classes.bin"])
def test_every_changed_byte_and_every_cut_is_noticed(file: str, tmp_path: Path) -> None:
    path = written(tmp_path / "run") / file
    whole = path.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 50)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RecordingError, match=r"recording '.*run'"):
            Recording(tmp_path / "run")
        path.write_bytes(whole[:at])
        with pytest.raises(RecordingError, match=r"cut off|no JSON"):
            Recording(tmp_path / "run")
    path.unlink()
    with pytest.raises(RecordingError, match=r"is missing|has no recording.json"):
        Recording(tmp_path / "run")
    path.write_bytes(whole)
    Recording(tmp_path / "run")


def change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what sets ``a.b.c`` in a recording to *value*."""

    def apply(told: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for part in path:
            told = told[int(part) if part.isdigit() else part]  # type: ignore[call-overload]
        told[last] = value

    return apply


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", 'does not say "format": "onnxcam-recording"; it is no recording'),
        ("version", 2, "is of version 2; this onnxcam reads version 1"),
        ("model", [], "has no 'model' that is an object"),
        ("model.method", None, "has no 'method' that is a text"),
        ("pictures", [], "there is no picture in it"),
        ("pictures.0.sha256", "ab", r'pictures\[0\] is not {"name": …, "sha256": …'),
        ("pictures.2.size", [0, 4], r"pictures\[2\] is not"),
        ("pictures.0.map", [4, 6], r"the maps of all pictures have 44 cells, but maps \[40\]"),
        ("scores.head", "sigmoids", "scores.head is 'sigmoids'; it is null, softmax, logsoftmax or sigmoid"),
        ("labels", ["cat", "dog"], "there are 2 labels, but 3 classes"),
        ("tensors.scores.dtype", "float64", "scores is float64 little; it is little-endian float32"),
        ("tensors.maps.order", "big", "maps is float32 big; it is little-endian float32"),
        ("tensors.scores.shape", [9, 1], r"there are 3 pictures, but scores \[9, 1\]; it is \[pictures, classes\]"),
        ("tensors.classes.shape", [4], "classes.bin has 24 bytes in place of 32: it was cut off"),
        ("tensors.maps.file", "../maps.bin", r"\.\./maps.bin is missing"),
    ],
)
def test_what_a_recording_must_say(key: str, value: Any, message: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "run", change=change(key, value))
    with pytest.raises(RecordingError, match=message):
        Recording(folder)


def places(told: Any, where: str = "") -> list[str]:
    """Return the path of every value in a recording's JSON."""
    pairs = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ()
    return [path for key, part in pairs for path in (f"{where}{key}", *places(part, f"{where}{key}."))]


def test_nonsense_anywhere_ends_in_one_line(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    told = json.loads((folder / "recording.json").read_text())
    del told["seal"]
    refused: list[str] = []
    for place in places(told):
        for value in (None, -5, "x", [], {}, [None, None], [{}]):
            changed = json.loads(json.dumps(told))
            *path, last = place.split(".")
            inner = changed
            for part in path:
                inner = inner[int(part) if isinstance(inner, list) else part]
            inner[int(last) if isinstance(inner, list) else last] = value
            (folder / "recording.json").write_bytes(sealed(changed))
            try:
                list(Recording(folder))
            except RecordingError as error:
                refused.append(str(error))
    assert len(refused) > 300
    assert not any("\n" in message for message in refused)


def test_a_class_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    data = np.array([0, 1, 7], "<i8").tobytes()
    (folder / "classes.bin").write_bytes(data)
    told = json.loads((folder / "recording.json").read_text())
    shutil.rmtree(folder)
    told["tensors"]["classes"]["sha256"] = hashlib.sha256(data).hexdigest()
    again = written(tmp_path / "run", change=lambda new: new.update(tensors=told["tensors"]))
    (again / "classes.bin").write_bytes(data)
    with pytest.raises(RecordingError, match=r"classes.bin names a class that is none of the 3"):
        Recording(again)


def test_folders_that_are_no_recording(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"'.*nowhere' does not exist; `onnxcam record` makes one"):
        Recording(tmp_path / "nowhere")
    with pytest.raises(RecordingError, match=r"has no recording.json; give the folder"):
        Recording(tmp_path)


def test_a_beginning_is_refused_and_gone_on_with(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", [0, 2, 3, 4])
    writer = Writer(tmp_path / "run", HEADER)
    for number in (0, 2):
        rng = np.random.default_rng(number)
        heat = rng.uniform(-1, 1, (4, 5))
        picture = {"name": f"{number}.png", "sha256": sha(number), "size": [8, 10]}
        writer.add(picture, rng.standard_normal(3), heat, number % 3)
    writer.leave()
    with pytest.raises(RecordingError, match="is not complete, it ends after 2 pictures; record again to go on"):
        Recording(tmp_path / "run")
    with (tmp_path / "run" / "recording.part").open("a") as part:
        part.write('{"name": "3.png", "sh')  # as a kill leaves it
    with (tmp_path / "run" / "maps.bin").open("ab") as maps:
        maps.write(b"\x01\x02\x03")
    with pytest.raises(Trouble, match=r"the beginning of another recording \(model.method\); choose another folder"):
        Writer(tmp_path / "run", {**HEADER, "model": {**HEADER["model"], "method": "layercam"}})  # type: ignore[dict-item]
    written(tmp_path / "run", [3, 4])
    for file in ("scores.bin", "maps.bin", "classes.bin"):
        assert (tmp_path / "run" / file).read_bytes() == (whole / file).read_bytes()
    assert [one.picture for one in Recording(tmp_path / "run")] == ["0.png", "2.png", "3.png", "4.png"]
    assert not (tmp_path / "run" / "recording.part").exists()
    with pytest.raises(Trouble, match="holds a recording; choose another folder, or delete it"):
        Writer(tmp_path / "run", HEADER)


def test_a_beginning_whose_numbers_are_gone_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run", HEADER)
    writer.add({"name": "a", "sha256": sha(0), "size": [4, 4]}, [1, 2, 3], None, 0)
    writer.leave()
    (tmp_path / "run" / "scores.bin").write_bytes(b"")
    with pytest.raises(Trouble, match=r"is damaged: scores.bin is too short; delete the folder, and start again"):
        Writer(tmp_path / "run", HEADER)


def test_a_firmware_in_c_writes_one(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    code = re.search(r"```c\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert code is not None
    (tmp_path / "recorder.c").write_text(code[1])
    build = [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "recorder.c", "-o", "recorder"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    pictures = photos(tmp_path / "p", 3)
    subprocess.run(["./recorder", "run", *map(str, pictures)], cwd=tmp_path, check=True)
    recording = Recording(tmp_path / "run")
    assert [one.picture for one in recording] == [str(path) for path in pictures]
    for path, outcome in zip(pictures, recording, strict=True):
        assert outcome.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        pixels = np.frombuffer(path.read_bytes()[-96 * 96 * 3 :], np.uint8).reshape(96, 96, 3)
        assert outcome.map is not None
        np.testing.assert_allclose(outcome.map, pixels[::32, ::32, 0] / np.float32(255), rtol=1e-6)
        assert outcome.target == int(np.argmax(outcome.scores))
