"""Comparison of texts and captions: edits, findings, and files of the reader and the captioner."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from onnxcam.compare.observer import Observer
from onnxcam.compare.tasks.text import CaptionPrediction, TextPrediction, edits
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from tests.compare.tasks.twins import MODELS, blank, compared, drawn, line, quantised, rounded, spoilt
from tests.runtime import new_runtime

LETTERS = ("", *"AB18")


def read(text: str, letters: tuple[str, ...] = LETTERS, known: bool = True) -> TextPrediction:
    return TextPrediction(tuple(text), letters, known)


@pytest.mark.parametrize(
    ("reference", "candidate", "found"),
    [
        ("AB", "AB", []),
        ("AB1", "A81", [("B", "8")]),
        ("AB1", "A1", [("B", None)]),
        ("A1", "AB1", [(None, "B")]),
        ("", "A", [(None, "A")]),
        ("BA", "AB", [("B", None), (None, "B")]),
    ],
)
def test_edits(reference: str, candidate: str, found: list[tuple[str | None, str | None]]) -> None:
    changed = edits(reference, candidate)
    assert len(changed) == len(found)
    if len(found) < 2:
        assert changed == found


@given(some.text("ab", max_size=6), some.text("ab", max_size=6), some.text("ab", max_size=6))
def test_edits_are_a_distance(one: str, two: str, three: str) -> None:
    assert (len(edits(one, two)) == 0) == (one == two)
    assert len(edits(one, two)) == len(edits(two, one))
    assert len(edits(one, three)) <= len(edits(one, two)) + len(edits(two, three))


def test_the_error_is_per_letter_of_the_reference() -> None:
    assert read("AB18").compare(read("A818")).values == {"same_text": 0, "character_error": 0.25}
    assert read("AB").compare(read("AB")).values == {"same_text": 1, "character_error": 0}
    assert read("").compare(read("AB")).values == {"same_text": 0, "character_error": 1}


def test_no_text_in_either() -> None:
    found = read("").compare(read(""))
    assert found.values == {"same_text": 1, "character_error": 0}
    assert found.notes == ["neither model reads a text"]


def test_a_caption_counts_words() -> None:
    words = ("red", "star", "ring")
    one, two = CaptionPrediction(("red", "star"), words), CaptionPrediction(("red", "ring"), words)
    assert one.compare(two).values == {"same_text": 0, "word_error": 0.5}
    assert one.answer(None).words == "“red star”"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (read("A", (*LETTERS, "C")), "the reference has 5 letters and the candidate 6"),
        (read("A", ("", *"AB1O")), "letter 4 is '8' in the reference and 'O' in the candidate"),
        (read("1", tuple("01234"), known=False), "the letters of the candidate are not known"),
    ],
)
def test_other_alphabets_are_not_compared(other: TextPrediction, words: str) -> None:
    with pytest.raises(MetricError, match=words):
        read("A").compare(other)


def test_the_most_frequent_confusions_are_named() -> None:
    pairs = (
        [compared(read("AB"), read("A8"))] * 3
        + [compared(read("A1"), read("A"))] * 2
        + [compared(read("A"), read("AB"))]
    )
    assert TextPrediction.conclude(pairs, None) == [
        "the candidate reads '8' in place of 'B' 3 times",
        "the candidate leaves out the letter '1' 2 times",
    ]
    assert TextPrediction.conclude([compared(read("A"), read("AB"))] * 2, None) == [
        "the candidate adds the letter 'B' 2 times"
    ]


def test_indices_are_written_apart() -> None:
    assert TextPrediction(("1", "12"), tuple(map(str, range(20))), known=False).text == "1 12"
    assert read("").answer(None).words == "no text"


@new_runtime
def test_a_good_and_a_spoilt_reader(tmp_path: Path) -> None:
    model, photos = MODELS / "reader.onnx", drawn(tmp_path / "photos", line)
    good = quantised(model, photos, tmp_path / "int8.onnx")
    reference = Observer(model)
    found = validate(reference, good, photos)
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    first = found.journal[0]
    assert first.answers[0].words == "“ZN28”"
    assert [one.target for one in first.objects] == ["text=ZN28", "text=ZN28 at=0", "text=ZN28 at=1"]
    failed = validate(reference, spoilt(good, tmp_path / "spoilt.onnx"), photos)
    assert failed.verdict == "failed"
    assert {"character_error", "same_text"} <= {one.metric for one in failed.verdicts if not one.holds}


def test_no_text_in_any_image(tmp_path: Path) -> None:
    model = MODELS / "reader.onnx"
    with pytest.raises(MetricError, match="the reference reads no text in any of the 2 images"):
        validate(model, rounded(model, tmp_path / "int8.onnx"), drawn(tmp_path / "photos", blank, 2))


@pytest.mark.slow
def test_a_good_and_a_spoilt_captioner(tmp_path: Path) -> None:
    model, photos = MODELS / "captioner.onnx", drawn(tmp_path / "photos")
    reference = Observer(model)
    found = validate(reference, rounded(model, tmp_path / "int8.onnx"), photos)
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert found.journal[0].objects[1].target == 'word=circle after="green"'
    assert validate(reference, rounded(model, tmp_path / "coarse.onnx", 4), photos).verdict == "failed"
