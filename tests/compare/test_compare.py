"""Two recordings: the validation of two models in two steps; what does not belong together is told."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.device_runner import RecordingWriter
from onnxcam.compare.observer import Observer
from onnxcam.compare.record import record
from onnxcam.compare.report.html import html
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError, OutputError, RecordingError
from tests.command import Ran
from tests.compare.recordings import HEADER, SHAPES, change, photos, sha, written


def test_two_steps_say_what_one_says(tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 5)
    other = "range=0-0.7"  # a candidate that sees darker images
    record(SHAPES, pictures, tmp_path / "a")
    record(SHAPES, pictures[::-1], tmp_path / "b", preprocess=other, explain_from=tmp_path / "a")
    found = compare_recordings(tmp_path / "a", tmp_path / "b")
    expected = validate(Observer(SHAPES), Observer(SHAPES, preprocess=other), pictures)
    assert found.summaries.keys() == expected.summaries.keys()
    for name, summary in expected.summaries.items():
        assert found.summaries[name].mean == pytest.approx(summary.mean, abs=1e-4), name
    assert [pair.picture for pair in found.journal] == [pair.picture for pair in expected.journal]
    assert (found.reference, found.candidate) == (expected.reference, expected.candidate)
    assert found.passed == expected.passed


def test_pictures_of_both_only_where_asked(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", [0, 1, 2]), written(tmp_path / "b", [2, 3])
    message = r"the images differ: 2 only in '.*a' \(0.png, 1.png\), 1 only in '.*b' \(3.png\); --common compares the 1"
    with pytest.raises(RecordingError, match=message):
        compare_recordings(a, b)
    found = compare_recordings(a, b, common=True)
    assert [pair.picture for pair in found.journal] == ["2.png"]
    assert any("compared are the 1 of both" in warning for warning in found.warnings)
    assert found.unreadable == [("bad.png", "bad.png: is no image")]
    with pytest.raises(RecordingError, match=r"have no image in common \(by the files' hashes\)"):
        compare_recordings(written(tmp_path / "c", [0]), b, common=True)


def test_a_picture_without_a_map_is_said(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    found = compare_recordings(a, b)
    assert "the reference has no map: the gradient is zero" in found.journal[1].notes
    assert "pearson" not in found.journal[1].values
    assert found.journal[0].values["pearson"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("model.method", "layercam", RecordingError, "the methods differ, gradcam in '.*a', layercam in '.*b'; record"),
        (
            "model.preprocess",
            "resize=8x8,range=0-1",
            RecordingError,
            "images are cropped and scaled differently, resize=4x4 in '.*a', resize=8x8 in '.*b'; record",
        ),
        (
            "labels",
            ["cat", "cow", "bird"],
            MetricError,
            "the labels differ: class 1 is 'dog' in '.*a' and 'cow' in '.*b'",
        ),
        (
            "pictures.0.size",
            [10, 8],
            RecordingError,
            r"0.png is 8 × 10 \(H × W\) in '.*a' and 10 × 8 \(H × W\) in '.*b'",
        ),
    ],
)
def test_what_does_not_belong_together(
    key: str, value: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    a, b = written(tmp_path / "a"), written(tmp_path / "b", change=change(key, value))
    with pytest.raises(error, match=message):
        compare_recordings(a, b)
    if key.startswith("model"):
        assert any(
            "differ" in warning or "otherwise" in warning for warning in compare_recordings(a, b, force=True).warnings
        )


def test_other_preprocessing_of_numbers_is_no_error(tmp_path: Path) -> None:
    b = written(tmp_path / "b", change=change("model.preprocess", "resize=4x4,range=0-255"))
    compare_recordings(written(tmp_path / "a"), b)


def test_other_counts_of_classes(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "b", {**HEADER, "labels": None})
    writer.add({"name": "0.png", "sha256": sha(0), "size": [8, 10]}, [1, 2, 3, 4], np.ones((4, 5)), 0)
    writer.close()
    with pytest.raises(MetricError, match=r"'.*a' has 3 classes and '.*b' 4"):
        compare_recordings(written(tmp_path / "a", [0]), tmp_path / "b")


def test_other_classes_are_not_compared_and_that_is_said(tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 3)
    record(SHAPES, pictures, tmp_path / "a", target=0)
    record(SHAPES, pictures, tmp_path / "b", target=1)
    found = compare_recordings(tmp_path / "a", tmp_path / "b")
    assert not found.passed
    assert "pearson" not in found.summaries
    assert any("the two explain different classes of 3 of 3 images" in warning for warning in found.warnings)
    assert any(warning.startswith("the targets differ: 0 in ") for warning in found.warnings)
    assert not any("the reference itself has no map" in warning for warning in found.warnings)


def test_duplicates_are_counted(tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 2)
    shutil.copy(pictures[0], tmp_path / "p" / "again.png")
    for name in ("a", "b"):
        record(SHAPES, [*pictures, tmp_path / "p" / "again.png"], tmp_path / name)
    found = compare_recordings(tmp_path / "a", tmp_path / "b")
    assert len(found.journal) == 2
    told = [warning for warning in found.warnings if "duplicates" in warning]
    assert told == [
        f"1 of the 3 images in '{tmp_path / name}' are duplicates of others in it; each counts once"
        for name in ("a", "b")
    ]


def test_the_command(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    photos(tmp_path / "p", 3)
    for name in ("a", "b"):
        assert onnxcam("record", SHAPES, "p", "-o", name).code == 0
    ran = onnxcam("compare", "a", "b", "-o", "report")
    assert ran.code == 0, ran.err
    assert {path.name for path in (tmp_path / "report").iterdir()} >= {"report.html", "junit.xml", "validation.json"}
    again = onnxcam("compare", "a", "b", "-o", "report")
    assert (again.code, "holds a finished validation" in again.err) == (2, True)
    assert onnxcam("compare", "a", "b", "-o", "report", "--overwrite").code == 0
    failed = onnxcam("compare", "a", "b", "-o", "strict", "--require", "cosine>1.5", "--json")
    assert failed.code == 1
    assert json.loads(failed.out)["passed"] is False
    (tmp_path / "b" / "maps.bin").write_bytes(b"")
    cut = onnxcam("compare", "a", "b", "-o", "cut")
    assert cut.code == 2
    assert cut.err.startswith("error: recording 'b': maps.bin has 0 bytes instead of ")


def test_pictures_are_opened_in_named_folders_only(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    photos(tmp_path / "p", 1)
    for name in ("a", "b"):
        assert onnxcam("record", SHAPES, "p", "-o", name).code == 0
    (tmp_path / "q").symlink_to(tmp_path / "p")
    for words, shown in (((), False), (("--images", "a"), False), (("-i", "a", "-i", "p"), True), (("-i", "q"), True)):
        assert onnxcam("compare", "a", "b", "-o", "report", "--overwrite", *words).code == 0
        page = (tmp_path / "report" / "report.html").read_text("utf-8")
        assert ("is not opened, as its path comes from a recording; give its folder with --images" in page) is not shown


@pytest.mark.parametrize("name", ["../secret.ppm", "/dev/zero", "pipe", "p"])
def test_what_a_recording_names_is_not_opened(name: str, tmp_path: Path) -> None:
    photos(tmp_path / "p", 1)
    os.mkfifo(tmp_path / "p" / "pipe")
    told = change("pictures.0.name", name if name[0] == "/" else str(tmp_path / "p" / name))
    a, b = (written(tmp_path / side, change=told) for side in "ab")
    page = html(compare_recordings(a, b, images=[tmp_path / "p"]))
    assert "is not opened, as its path comes from a recording" in page


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    for side in "ab":
        writer = RecordingWriter(tmp_path / side, HEADER)
        for number, scores in enumerate(([np.nan, 1, 2], [np.inf, 1, 2], [3, 1, 2])):
            writer.add({"name": f"{number}.png", "sha256": sha(number), "size": [8, 10]}, scores, np.ones((4, 5)), 0)
        writer.close()
    found = compare_recordings(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert [pair.confidence[0] is None for pair in found.journal] == [True, True, False]
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_journal_of_other_recordings_is_refused(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    compare_recordings(a, b, tmp_path / "out")
    with pytest.raises(OutputError, match="is the journal of another validation: reference was"):
        compare_recordings(written(tmp_path / "c", [0, 1, 2], change("labels", None)), b, tmp_path / "out")
