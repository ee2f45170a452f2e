"""Recordings of tasks other than classification: what goes in comes out; what is damaged is refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import world
from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.device_runner import DiskError, RecordingWriter, sealed
from onnxcam.compare.observer import Observer
from onnxcam.compare.outcome import ObjectMap, Prediction
from onnxcam.compare.pairing import paired
from onnxcam.compare.prediction_arrays import packed, unpacked
from onnxcam.compare.record import record
from onnxcam.compare.recorded_objects import object_entry
from onnxcam.compare.recordings import Recording
from onnxcam.compare.tasks import OBSERVATIONS
from onnxcam.compare.tasks.classification import ClassScores
from onnxcam.compare.tasks.detection import MOST, DetectionPrediction
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError, OnnxcamError, RecordingError, TargetError
from onnxcam.media import image
from onnxcam.targets.detection import MIN_PROBABILITY
from tests.command import Ran
from tests.compare.recordings import HEADER, SHAPES, change, photos, refusals, room, sha
from tests.compare.test_record import same

DETECTOR = Path(__file__).parents[2] / "models" / "detector.onnx"
OBJECTS = {**HEADER, "version": 2, "task": "detection"}
del OBJECTS["scores"]
FILES = ("recording.json", "arrays.bin", "maps.bin")


def prediction(number: int = 0) -> DetectionPrediction:
    rng = np.random.default_rng(number)
    boxes = rng.uniform(0, 8, (3, 4))
    boxes[2] = np.nan
    return DetectionPrediction(boxes, np.array([0.9, 0.7, 0.3]), np.array([0, 2, 1]), why="a — b")


def explained(number: int = 0) -> list[ObjectMap]:
    rng = np.random.default_rng(number)
    maps = [rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((4, 5), (2, 3))]
    return [
        ObjectMap("detection=0", 0, maps[0], "", 0.9, (1.0, 2.0, 5.5, 6.0)),
        ObjectMap("box=1,2,3,4 class=2", None, None, "no such object"),
        ObjectMap("detection=1", 2, maps[1], "", None, None),
    ]


def picture(number: int) -> dict[str, Any]:
    return {"name": f"{number}.png", "sha256": sha(number), "size": [8, 10], "frame": [0.0, 0.0, 10.0, 8.0]}


def written(folder: Path, alter: Callable[[dict[str, Any]], None] = lambda _: None, count: int = 3) -> Path:
    """Write a recording of made-up objects. *alter* what it says before it is sealed."""
    writer = RecordingWriter(folder, json.loads(json.dumps(OBJECTS)))
    try:
        for number in range(count):
            if not writer.already(picture(number)):
                objects = [object_entry(one) for one in explained(number)]
                writer.add_objects(picture(number), prediction(number).arrays(), objects)
    except DiskError:
        writer._shut()
        raise
    writer.close([("bad.png", "bad.png: is no image")])
    told = json.loads((folder / "recording.json").read_text())
    del told["seal"]
    alter(told)
    (folder / "recording.json").write_bytes(sealed(told))
    return folder


def agree(one: Prediction, other: Prediction) -> None:
    assert type(one) is type(other)
    for name, value in vars(other).items():
        np.testing.assert_array_equal(getattr(one, name), value)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    recording = Recording(written(tmp_path / "run"))
    assert (len(recording), recording.classes, recording.has_maps) == (3, None, True)
    assert recording.prediction is DetectionPrediction
    for number, outcome in enumerate(recording):
        assert (outcome.picture, outcome.sha256, outcome.size) == (f"{number}.png", sha(number), (8, 10))
        agree(outcome.prediction, prediction(number))
        for found, expected in zip(outcome.maps, explained(number), strict=True):
            assert {**vars(found), "map": None} == {**vars(expected), "map": None}
            np.testing.assert_array_equal(found.map, expected.map)


@pytest.mark.parametrize("observation", OBSERVATIONS, ids=lambda one: one.prediction.task)
def test_each_prediction_says_its_arrays(observation: Any) -> None:
    """Forms of all fields; only classifiers have a format of their own."""
    kind = observation.prediction
    if kind is not ClassScores:
        assert list(kind.forms) == [field.name for field in fields(kind)]
        assert all(
            re.fullmatch(r"((float|int|index|bool) (\[[\w, .]*\]|\(\d\))|texts?)( \| .*)?\??", x)
            for x in kind.forms.values()
        )


@pytest.mark.parametrize("file", FILES)
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
    path.write_bytes(whole)
    Recording(tmp_path / "run")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("task", "juggling", "its task is 'juggling'; this onnxcam reads detection"),
        ("task", "classification", "its task is 'classification'; this onnxcam reads detection"),
        ("task", None, "has no 'task' that is a text"),
        ("explains", 3, "has no 'explains' that is a text"),
        ("pictures.0.arrays", [], r"pictures\[0\]: arrays is not {name: "),
        ("pictures.0.arrays.boxes.dtype", "object", r"pictures\[0\]: arrays is not {name: "),
        ("pictures.0.arrays.boxes.dtype", "float32", "the arrays of all images have .* numbers, but"),
        ("pictures.0.arrays.boxes.dtype", "int64", r"arrays: 'boxes' is int64 \[3, 4\] and should be float \[B, 4\]"),
        ("pictures.0.arrays.boxes.shape", [4, 3], r"'boxes' is float64 \[4, 3\] and should be float \[B, 4\]"),
        ("pictures.0.arrays.boxes.shape", [-3, -4], r"pictures\[0\]: arrays is not"),
        ("pictures.0.arrays.boxes.shape", [2**62, 2**62], r"pictures\[0\]: arrays is not"),
        ("pictures.0.arrays.boxes.shape", [2**24 - 1] * 8, "the arrays of all images have .* numbers, but"),
        ("pictures.0.arrays.boxes.shape", [True, 4], r"pictures\[0\]: arrays is not"),
        (
            "pictures.0.arrays.scores.shape",
            [1, 3],
            r"'scores' is float64 \[1, 3\] and should be float \[B\], with B = 3",
        ),
        (
            "pictures.1.arrays.classes.dtype",
            "bool",
            r"pictures\[1\].arrays: 'classes' is bool \[3\] and should be index",
        ),
        ("pictures.0.objects", None, r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.objects.0.target", 3, r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.objects.0.index", -1, r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.objects.0.index", 2**60, r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.objects.0.score", float("inf"), r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.objects.0.score", float("nan"), r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.objects.0.score", 10**400, r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.objects.0.box", [1, 2, 3], r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.objects.0.box", [1, 2, 3, 1e30], r"pictures\[0\]: objects is not a list of"),
        (
            "pictures.0.objects.0.map",
            [2**20, 2**20],
            r"pictures\[0\]: frame is no rectangle, or too small for its maps",
        ),
        ("pictures.0.objects.0.map", [5, 6], "the maps of all images have .* numbers, but"),
        ("pictures.0.objects.0.map", [20], r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.objects", [{}] * 5000, r"pictures\[0\]: objects is not a list of"),
        ("pictures.0.frame", [0, 0, 1e-9, 1e-9], r"pictures\[0\]: frame is no rectangle, or too small"),
        ("pictures.0.size", [2**20, 2**20], r"pictures\[0\] is not"),
        ("tensors.arrays.dtype", "float32", "arrays is float32 little; it is little-endian uint8"),
        ("tensors.arrays.shape", [3], "arrays.bin has .* bytes instead of 3"),
    ],
)
def test_what_a_recording_must_say(key: str, value: Any, message: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "run", change(key, value))
    with pytest.raises(RecordingError, match=message) as error:
        list(Recording(folder))
    assert "\n" not in str(error.value)


def test_nonsense_anywhere_ends_in_one_line(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", count=2)
    refused = refusals(folder)
    assert len(refused) > 500
    assert not any("\n" in message for message in refused)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"boxes": np.zeros((1, 4)), "scores": np.zeros(1)}, r"there is no 'classes', index \[B\]"),
        ({"rows": np.zeros(1)}, "'rows' is none of its arrays: boxes, scores, classes, threshold, why"),
        ({"classes": np.array([-1])}, "'classes' holds an integer outside 0 to 16777216"),
        ({"classes": np.array([2**40])}, "'classes' holds an integer outside 0 to 16777216"),
        ({"scores": np.array([np.nan])}, "'scores' holds NaN or infinity"),
        ({"threshold": np.zeros(2)}, r"'threshold' is float64 \[2\] and should be float \[\]"),
    ],
)
def test_arrays_that_are_no_objects(arrays: dict[str, Any], message: str) -> None:
    whole = {} if "boxes" in arrays or "rows" in arrays else {"boxes": np.zeros((1, 4)), "scores": np.zeros(1)}
    whole |= {} if "boxes" in arrays or "rows" in arrays else {"classes": np.zeros(1, int)}
    with pytest.raises(ValueError, match=message):
        DetectionPrediction.from_arrays({**whole, **arrays})


def test_objects_of_others_are_sorted_and_the_best_are_kept() -> None:
    """A firmware may write them in any order, as float32."""
    scores = np.linspace(0, 1, MOST + 5, dtype=np.float32)
    boxes = np.repeat(scores[:, None], 4, axis=1)
    found = DetectionPrediction.from_arrays(
        {"boxes": boxes, "scores": scores, "classes": np.arange(MOST + 5, dtype=np.uint8 if MOST < 250 else np.int16)}
    )
    assert len(found.scores) == MOST
    assert (found.scores[0], found.classes[0], found.threshold) == (1, MOST + 4, MIN_PROBABILITY)
    np.testing.assert_array_equal(found.boxes[:, 0], found.scores)


def test_forms() -> None:
    forms = {"cells": "int [h, w] | bool [k, h, w]", "names": "text", "count": "index []", "size": "index []"}
    values = {"cells": np.array([[-1, 300]]), "names": "a\nü", "count": 7, "size": None}
    arrays = packed(values, forms)
    assert [(name, array.dtype.name) for name, array in arrays.items()] == [
        ("cells", "int16"),
        ("names", "uint8"),
        ("count", "int8"),
    ]
    found = unpacked(arrays, forms, ["size"])
    assert (found["cells"].dtype, found["names"], found["count"]) == (np.int64, "a\nü", 7)
    assert unpacked({"cells": np.ones((2, 3, 4), bool)}, {"cells": forms["cells"]})["cells"].shape == (2, 3, 4)
    assert unpacked({"cells": np.array([[7]], np.uint8)}, {"cells": forms["cells"]})["cells"].dtype == np.int64
    with pytest.raises(ValueError, match=r"'cells' is bool \[2\] and should be int \[h, w\] \| bool \[k, h, w\]"):
        unpacked({"cells": np.ones(2, bool)}, {"cells": forms["cells"]})


def test_forms_of_texts_tuples_and_missing_arrays() -> None:
    forms = {
        "units": "texts",
        "size": "index (2)",
        "score": "float []?",
        "values": "float [...]",
        "image": "float [c, w]?",
    }
    values = {"units": ("a", "", "ü\0"), "size": (3, 400), "score": None, "values": np.ones((1, 2, 3)), "image": None}
    arrays = packed(values, forms)
    assert arrays["units"].tobytes() == "a\0\0ü \0".encode()
    found = unpacked(arrays, forms)
    assert (found["units"], found["size"], found["score"], found["image"]) == (("a", "", "ü "), (3, 400), None, None)
    assert found["values"].shape == (1, 2, 3)
    assert unpacked({**arrays, "units": np.zeros(0, np.uint8)}, forms)["units"] == ()
    with pytest.raises(ValueError, match=r"'image' is float64 \[0, 2\] and should be float \[c, w\]"):
        unpacked({**arrays, "image": np.ones((0, 2))}, forms)


def drawn(folder: Path, count: int = 4) -> list[Path]:
    folder.mkdir()
    for number in range(count):
        image.write(folder / f"{number}.png", world.sample(np.random.default_rng([7, number])).image)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return drawn(tmp_path_factory.mktemp("scenes") / "p")


def test_outcomes_come_back_as_they_were_observed(scenes: list[Path], tmp_path: Path) -> None:
    made = record(DETECTOR, scenes, tmp_path / "run")
    assert (made.info.method, made.info.layer) == ("layercam", "by object")
    observer = Observer(DETECTOR)
    for path, found in zip(scenes, Recording(tmp_path / "run"), strict=True):
        (expected,) = observer.outcomes([observer.prepare(path)])
        assert found.maps
        same(found, expected)


def test_two_steps_say_what_one_says(scenes: list[Path], tmp_path: Path) -> None:
    other = "range=0-0.7"  # a candidate that sees darker images
    record(DETECTOR, scenes, tmp_path / "a")
    record(DETECTOR, scenes[::-1], tmp_path / "b", preprocess=other, explain_from=tmp_path / "a")
    found = compare_recordings(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    expected = validate(Observer(DETECTOR), Observer(DETECTOR, preprocess=other), scenes)
    assert {"kept", "box_iou", "pearson"} <= found.summaries.keys() == expected.summaries.keys()
    for name, summary in expected.summaries.items():
        assert found.summaries[name].mean == pytest.approx(summary.mean, abs=1e-4), name
    assert [pair.picture for pair in found.journal] == [pair.picture for pair in expected.journal]
    assert (found.task, found.passed) == ("detection", expected.passed)
    assert found.save(tmp_path / "out")


def test_a_run_resumes_with_the_same_bytes(scenes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(DETECTOR, scenes, tmp_path / "whole")
    add = RecordingWriter.add_objects

    class Killed(BaseException):
        pass

    def killed(self: RecordingWriter, *told: Any) -> None:
        if len(self.pictures) == 2:
            raise Killed
        add(self, *told)

    with monkeypatch.context() as patch:
        patch.setattr(RecordingWriter, "add_objects", killed)
        with pytest.raises(Killed):
            record(DETECTOR, scenes, tmp_path / "run")
    with pytest.raises(RecordingError, match="is not complete, it ends after 2 images"):
        Recording(tmp_path / "run")
    with pytest.raises(RecordingError, match=r"the beginning of another recording \(explains, target\)"):
        record(DETECTOR, scenes, tmp_path / "run", explain_from=tmp_path / "whole")
    record(DETECTOR, scenes, tmp_path / "run")
    for file in FILES:
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole")
    for size in (10, 300, 600, 1200):
        with room(size), pytest.raises(DiskError, match="File too large; make room there"):
            written(tmp_path / f"{size}")
        written(tmp_path / f"{size}")
        for file in FILES:
            assert (tmp_path / f"{size}" / file).read_bytes() == (whole / file).read_bytes()


def test_what_two_recordings_both_explain() -> None:
    def thing(target: str, index: int | None, box: Any = None) -> ObjectMap:
        return ObjectMap(target, index, None, box=box)

    a = [thing("detection=0", 1, (0, 0, 10, 10)), thing("detection=1", 1, (20, 20, 30, 30)), thing("class=cat", 3)]
    b = [thing("class=3", 3), thing("detection=0", 1, (21, 20, 31, 30)), thing("detection=1", 2, (0, 0, 10, 10))]
    assert paired(a, b, in_order=True) == list(zip(a, b, strict=True))
    assert paired(a, b, in_order=False) == [(a[1], b[1]), (a[2], b[0])]
    assert paired(a, b[:1], in_order=True) == [(a[2], b[0])]
    assert (
        paired([thing("text", None)], [thing("text", None), thing("text=2", None)], in_order=False)[0][1].target
        == "text"
    )


def test_recordings_that_each_explain_their_own(scenes: list[Path], tmp_path: Path) -> None:
    record(DETECTOR, scenes, tmp_path / "a")
    record(DETECTOR, scenes, tmp_path / "b")
    found = compare_recordings(tmp_path / "a", tmp_path / "b")
    assert (found.passed, found.summaries["pearson"].mean) == (True, pytest.approx(1))
    shutil.copytree(tmp_path / "a", tmp_path / "less")
    told = json.loads((tmp_path / "less" / "recording.json").read_text())
    del told["seal"]
    told["pictures"][0]["objects"][0]["box"] = [0, 0, 1, 1]
    (tmp_path / "less" / "recording.json").write_bytes(sealed(told))
    found = compare_recordings(tmp_path / "a", tmp_path / "less")
    (words,) = [one for one in found.warnings if "does not explain" in one]
    assert re.search(
        r"less' does not explain 1 of the \d+ objects of '.*a', whose maps are not compared; record", words
    )


def test_recordings_of_different_tasks(scenes: list[Path], tmp_path: Path) -> None:
    record(DETECTOR, scenes[:1], tmp_path / "a")
    record(SHAPES, scenes[:1], tmp_path / "b", preprocess="unit")
    with pytest.raises(MetricError, match=r"a' is read as a model for detection and '.*b' as one for classification"):
        compare_recordings(tmp_path / "a", tmp_path / "b")
    with pytest.raises(RecordingError, match="b' is of a model for classification, this model is one for detection"):
        record(DETECTOR, scenes, tmp_path / "c", explain_from=tmp_path / "b")
    with pytest.raises(RecordingError, match="a' is of a model for detection, this model is one for classification"):
        record(SHAPES, scenes, tmp_path / "c", explain_from=tmp_path / "a", preprocess="unit")


def test_what_is_refused(scenes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError, match="target 'cat' is not for"):
        record(DETECTOR, scenes, tmp_path / "a", target="cat")
    with pytest.raises(MetricError, match="--layers is for classifiers"):
        record(DETECTOR, scenes, tmp_path / "a", layers=True)
    monkeypatch.setattr(DetectionPrediction, "forms", {})
    with pytest.raises(MetricError, match="predictions of detection cannot be recorded yet; compare the models with"):
        record(DETECTOR, scenes, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_old_name_of_the_option(tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 1)
    record(SHAPES, pictures, tmp_path / "a", target=3)
    with pytest.warns(DeprecationWarning, match="explain_from= now"):
        record(SHAPES, pictures, tmp_path / "b", classes_from=tmp_path / "a")
    assert Recording(tmp_path / "b")[0].target == 3


def test_the_command(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    drawn(tmp_path / "p", 2)
    assert onnxcam("record", DETECTOR, "p", "-o", "a").code == 0
    ran = onnxcam("record", DETECTOR, "p", "-o", "b", "--explain-from", "a")
    assert ran.code == 0, ran.err
    ran = onnxcam("compare", "a", "b", "-o", "report", "--images", "p")
    assert ran.code == 0, ran.err
    assert "passed on 2 images" in ran.err
    refused = onnxcam("compare", "a", "b", "-o", "other", "--require", "top1>=0.5")
    assert (refused.code, "cannot be measured for detection" in refused.err) == (2, True)


def test_any_numbers_end_in_a_comparison_or_one_line(tmp_path: Path) -> None:
    """As a firmware might write them: under hashes that fit."""
    whole, rng = written(tmp_path / "whole"), np.random.default_rng(0)
    odd = [
        b"\0\0\0\0\0\0\xf8\x7f",
        b"\0\0\0\0\0\0\xf0\xff",
        b"\xff\xff\xff\xff\xff\xff\xef\x7f",
        b"\xff" * 8,
        b"\0" * 8,
    ]
    refused: list[str] = []
    for number in range(20):
        folder = tmp_path / f"{number}"
        shutil.copytree(whole, folder)
        file = folder / ("maps.bin" if number % 3 == 0 else "arrays.bin")
        data = bytearray(file.read_bytes())
        for _ in range(1 + number % 5):
            at = int(rng.integers(0, len(data) - 8))
            data[at : at + 8] = odd[int(rng.integers(len(odd)))]
        file.write_bytes(data)
        told = json.loads((folder / "recording.json").read_text())
        del told["seal"]
        told["tensors"][file.stem]["sha256"] = hashlib.sha256(data).hexdigest()
        (folder / "recording.json").write_bytes(sealed(told))
        for pair in ((whole, folder), (folder, whole)):
            try:
                assert json.dumps(compare_recordings(*pair).as_dict(), allow_nan=False)
            except OnnxcamError as error:
                refused.append(str(error))
    assert refused
    assert not any("\n" in message for message in refused)
