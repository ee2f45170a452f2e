"""The recording on disk: what goes in comes out, a firmware's too; what is not whole or not as it was is refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.compare.device_runner import DiskError, RecordingWriter, RunnerError, entry_of, line_of
from onnxcam.compare.recordings import Recording
from onnxcam.errors import RecordingError
from tests.compare.recordings import HEADER, change, photos, refusals, room, sha, written

DOCS = Path(__file__).parents[2] / "docs" / "recording.md"


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    recording = Recording(written(tmp_path / "run"))
    assert len(recording) == 3
    assert recording.classes == 3
    assert recording.class_names == ["cat", "dog", "bird"]
    assert (recording.info.method, recording.info.layer) == ("gradcam", "conv")
    assert recording.unreadable == [("bad.png", "bad.png: is no image")]
    assert [recording.objects(row)[0].index for row in range(3)] == [0, 1, 2]
    for number, outcome in enumerate(recording):
        rng = np.random.default_rng(number)
        assert (outcome.picture, outcome.sha256, outcome.size) == (f"{number}.png", sha(number), (8, 10))
        if number == 1:
            assert (outcome.map, outcome.maps[0].why) == (None, "the gradient is zero")
        else:
            assert outcome.map is not None
            np.testing.assert_array_equal(outcome.map, rng.uniform(-1, 1, (4, 5)).astype(np.float32))
        scores = rng.standard_normal(3)
        np.testing.assert_array_equal(outcome.prediction.scores, scores.astype(np.float32))
        assert outcome.prediction.probabilities is not None
        np.testing.assert_allclose(outcome.prediction.probabilities, np.exp(scores) / np.exp(scores).sum(), rtol=1e-6)


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
    writer = RecordingWriter(tmp_path / "run", {**HEADER, "scores": meaning, "labels": None})
    writer.add({"name": "a", "sha256": sha(0), "size": [4, 4]}, [0.2, 0.3], None, 0)
    writer.close()
    found = Recording(tmp_path / "run")[0].prediction.probabilities
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
        with pytest.raises(RecordingError, match=r"truncated|cut off|no JSON"):
            Recording(tmp_path / "run")
    path.unlink()
    with pytest.raises(RecordingError, match=r"is missing|has no recording.json"):
        Recording(tmp_path / "run")
    path.write_bytes(whole)
    Recording(tmp_path / "run")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", 'does not say "format": "onnxcam-recording"; it is no recording'),
        ("version", 3, "is of version 3; this onnxcam reads versions 1 and 2"),
        ("version", 2, "has no 'arrays' that is an object"),
        ("version", [], r"is of version \[\]; this onnxcam reads versions 1 and 2"),
        ("model", [], "has no 'model' that is an object"),
        ("model.method", None, "has no 'method' that is a text"),
        ("pictures", [], "there is no image in it"),
        ("pictures.0.sha256", "ab", r'pictures\[0\] is not {"name": …, "sha256": …'),
        ("pictures.2.size", [0, 4], r"pictures\[2\] is not"),
        ("pictures.0.map", [4, 6], r"the maps of all images have 44 cells, but maps \[40\]"),
        ("scores.head", "sigmoids", "scores.head is 'sigmoids'; it is null, softmax, logsoftmax or sigmoid"),
        ("labels", ["cat", "dog"], "there are 2 labels, but 3 classes"),
        ("tensors.scores.dtype", "float64", "scores is float64 little; it is little-endian float32"),
        ("tensors.maps.order", "big", "maps is float32 big; it is little-endian float32"),
        ("tensors.scores.shape", [9, 1], r"there are 3 images, but scores \[9, 1\]; it is \[pictures, classes\]"),
        ("tensors.classes.shape", [4], "classes.bin has 24 bytes instead of 32: it is truncated"),
        ("tensors.maps.file", "../maps.bin", r"\.\./maps.bin is missing"),
        ("tensors.maps.file", "a\0b", "is missing"),
        ("tensors.maps.file", "x" * 300, "is missing"),
        ("tensors.maps.shape", [-1], "the shape of maps is .* it is a list of lengths"),
        ("tensors.maps.shape", [10**30], "the shape of maps is .* it is a list of lengths"),
        ("tensors.maps.shape", [1] * 100, "the shape of maps is .* it is a list of lengths"),
        ("tensors.maps.shape", [True], "the shape of maps is .* it is a list of lengths"),
        ("pictures.0.map", [2**31, 2**31], r"pictures\[0\] is not"),
        ("pictures.0.map", [2**20, 2**20], "the maps of all images have 1099511627796 cells, but maps"),
        ("pictures.0.size", [2**20, 2**20], r"pictures\[0\] is not"),
        ("pictures.0.size", [True, 3], r"pictures\[0\] is not"),
        ("pictures.0.name", "a\0.png", r"pictures\[0\] is not"),
        ("pictures.0.name", "\ud800.png", r"pictures\[0\] is not"),
        ("pictures.0.name", "", r"pictures\[0\] is not"),
        ("pictures.0.frame", [0, 0, 0, 0], r"pictures\[0\] is not"),
        ("pictures.0.frame", [5, 5, 1, 1], r"pictures\[0\] is not"),
        ("pictures.0.frame", [0, 0, 1e-9, 1e-9], r"pictures\[0\] is not"),
        ("pictures.0.frame", [0, 0, 10**400, 8], r"pictures\[0\] is not"),
        ("pictures.0.frame", [0, 0, float("inf"), 8], r"pictures\[0\] is not"),
    ],
)
def test_what_a_recording_must_say(key: str, value: Any, message: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "run", change=change(key, value))
    with pytest.raises(RecordingError, match=message):
        Recording(folder)


def test_nonsense_anywhere_ends_in_one_line(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    refused = refusals(folder)
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
    writer = RecordingWriter(tmp_path / "run", HEADER)
    for number in (0, 2):
        rng = np.random.default_rng(number)
        heat = rng.uniform(-1, 1, (4, 5))
        picture = {"name": f"{number}.png", "sha256": sha(number), "size": [8, 10]}
        writer.add(picture, rng.standard_normal(3), heat, number % 3)
    writer.leave()
    with pytest.raises(RecordingError, match="is not complete, it ends after 2 images; repeat the command to resume"):
        Recording(tmp_path / "run")
    with (tmp_path / "run" / "recording.part").open("a") as part:
        part.write('{"name": "3.png", "sh')  # as a kill leaves it
    with (tmp_path / "run" / "maps.bin").open("ab") as maps:
        maps.write(b"\x01\x02\x03")
    with pytest.raises(
        RunnerError, match=r"the beginning of another recording \(model.method\); choose another folder"
    ):
        RecordingWriter(tmp_path / "run", {**HEADER, "model": {**HEADER["model"], "method": "layercam"}})  # type: ignore[dict-item]
    written(tmp_path / "run", [3, 4])
    for file in ("scores.bin", "maps.bin", "classes.bin"):
        assert (tmp_path / "run" / file).read_bytes() == (whole / file).read_bytes()
    assert [one.picture for one in Recording(tmp_path / "run")] == ["0.png", "2.png", "3.png", "4.png"]
    assert not (tmp_path / "run" / "recording.part").exists()
    with pytest.raises(RunnerError, match="holds a recording; choose another folder, or delete it"):
        RecordingWriter(tmp_path / "run", HEADER)


def test_a_beginning_whose_numbers_are_gone_is_refused(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "run", HEADER)
    writer.add({"name": "a", "sha256": sha(0), "size": [4, 4]}, [1, 2, 3], None, 0)
    writer.leave()
    (tmp_path / "run" / "scores.bin").write_bytes(b"")
    with pytest.raises(RunnerError, match=r"is damaged: scores.bin is too short; delete the folder, and start again"):
        RecordingWriter(tmp_path / "run", HEADER)


def begun(folder: Path, numbers: Sequence[int] = (0, 1, 2, 3)) -> Path:
    """Write the beginning of a recording of made-up images, as a kill leaves it."""
    writer = RecordingWriter(folder, HEADER)
    for number in numbers:
        rng = np.random.default_rng(number)
        heat = rng.uniform(-1, 1, (4, 5))
        writer.add({"name": f"{number}.png", "sha256": sha(number), "size": [8, 10]}, rng.standard_normal(3), heat, 0)
    writer.leave()
    return folder


def ended(folder: Path) -> dict[str, bytes]:
    """Go on with a recording, and end it; return its files."""
    writer = RecordingWriter(folder, HEADER)
    for number in range(4):
        picture = {"name": f"{number}.png", "sha256": sha(number), "size": [8, 10]}
        rng = np.random.default_rng(number)
        heat = rng.uniform(-1, 1, (4, 5))
        if not writer.already(picture):
            writer.add(picture, rng.standard_normal(3), heat, 0)
    writer.close()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("file", ["recording.part", "scores.bin", "maps.bin", "classes.bin"])
def test_a_damaged_beginning_ends_in_the_same_bytes_or_is_refused(file: str, tmp_path: Path) -> None:
    expected = ended(tmp_path / "whole")
    begin = begun(tmp_path / "begin")
    whole = (begin / file).read_bytes()
    header = whole.index(b"\n") + 1 if file == "recording.part" else 0
    refused = 0
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        folder = tmp_path / f"{at}"
        shutil.copytree(begin, folder)
        (folder / file).write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        if at < header:
            refused += 1
            message = r"is damaged: recording.part does not begin as .* begins it; delete the folder, and start again"
            with pytest.raises(RunnerError, match=message):
                ended(folder)
        else:
            assert ended(folder) == expected
    assert bool(refused) == bool(header)


def test_what_is_damaged_is_said(tmp_path: Path) -> None:
    part = begun(tmp_path / "run") / "recording.part"
    lines = part.read_bytes().splitlines(True)
    part.write_bytes(b"".join([*lines[:2], lines[2].replace(b"1.png", b"7.png"), *lines[3:]]))
    writer = RecordingWriter(tmp_path / "run", HEADER)
    assert writer.damaged == (
        f"'{part}' is damaged in line 3, or its numbers are: that image and those after it are done again"
    )
    assert [picture["name"] for picture in writer.pictures] == ["0.png"]
    writer.leave()
    again = RecordingWriter(tmp_path / "run", HEADER)
    assert again.damaged == ""
    again.leave()


@pytest.mark.parametrize(
    "change",
    [{"ends": 3}, {"ends": {}}, {"ends": {"scores": -5, "maps": 0, "classes": 0}}, {"sum": None}, {"name": []}],
)
def test_a_line_of_another_kind_ends_the_beginning(change: dict[str, Any], tmp_path: Path) -> None:
    part = begun(tmp_path / "run") / "recording.part"
    first, one, *_ = part.read_bytes().splitlines(True)
    seed = zlib.crc32(first)
    part.write_bytes(first + line_of({**entry_of(one, seed), **change}, seed))
    writer = RecordingWriter(tmp_path / "run", HEADER)
    assert (bool(writer.damaged), writer.pictures) == (True, [])
    writer.leave()


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    for content in (b"mine", b"mine\n", json.dumps(HEADER).encode() + b"\n"):
        (tmp_path / "recording.part").write_bytes(content)
        with pytest.raises(RunnerError, match=r"recording.part does not begin as this version begins it"):
            RecordingWriter(tmp_path, HEADER)
        assert (tmp_path / "recording.part").read_bytes() == content


def test_only_one_run_at_a_time_writes(tmp_path: Path) -> None:
    code = f"""
from onnxcam.compare.device_runner import RecordingWriter
writer = RecordingWriter({str(tmp_path / "run")!r}, {HEADER!r})
print("locked", flush=True)
input()
"""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(RunnerError) as error:
            RecordingWriter(tmp_path / "run", HEADER)
        assert str(error.value) == (
            f"another run writes '{tmp_path / 'run'}'; wait until it ends, or choose another folder"
        )
        other.send_signal(signal.SIGKILL)
    assert set(ended(tmp_path / "run")) == {"recording.json", "scores.bin", "maps.bin", "classes.bin"}


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    expected = ended(tmp_path / "whole")
    for size in (10, 300, 600, 900, 1200, 1500, 1600):
        folder = tmp_path / f"{size}"
        with room(size), pytest.raises(DiskError) as error:
            ended(folder)
        assert str(error.value) == (
            f"cannot write into '{folder}': File too large; make room there, or choose another folder"
        )
        assert {path.suffix for path in folder.iterdir()} <= {".part", ".bin"}
        assert ended(folder) == expected


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
        assert outcome.target == int(np.argmax(outcome.prediction.scores))
