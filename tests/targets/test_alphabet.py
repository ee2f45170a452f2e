"""Letters: where they are written, where the blank is, and what happens where nobody knows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import TargetError
from onnxcam.targets.alphabet import Letters, fit, unknown
from onnxcam.targets.text_recognition import TextRecognition
from tests.targets.opened import Opened

LETTERS = list("0123456789AB")
BLANK_FIRST, BLANK_LAST = np.eye(1, 4, 0).repeat(5, axis=0), np.eye(1, 4, 3).repeat(5, axis=0)


def reader(count: int = 14, last: str = "y = Softmax<axis = 2>(z)", **metadata: str) -> onnx.ModelProto:
    """A reader without a recurrent layer: the columns of the image are frames, its rows letters."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    reader (float[n, 1, {count}, 64] x) => (float[n, 32, {count}] y) <int64[1] one = {{1}}> {{
        p = AveragePool<kernel_shape = [1, 2], strides = [1, 2]>(x)
        f = Squeeze(p, one) z = Transpose<perm = [0, 2, 1]>(f) {last}
    }}
    """)
    onnx.helper.set_model_props(model, metadata)
    return model


def written(places: list[int], count: int = 14) -> np.ndarray:
    """x in which the frames show letters by index, with the blank, 0, between them."""
    x = np.zeros((1, 1, count, 64), np.float32)
    x[0, 0, 0] = 9
    for i, place in enumerate(places):
        x[0, 0, :, 8 * i : 8 * i + 4] = 9 * np.eye(count, dtype=np.float32)[place][:, None]
    return x


@pytest.mark.parametrize(
    ("letters", "runs", "expected"),
    [
        (["", "a", "b", "c"], [], (["", "a", "b", "c"], 0)),
        (["a", "b", "c", "<blank>"], [], (["a", "b", "c", "<blank>"], 3)),
        (["a", "b", "c", "-"], [], (["a", "b", "c", "-"], 3)),
        (["a", "b", "c"], [], (["", "a", "b", "c"], 0)),
        (["a", "b", "c"], [BLANK_FIRST], (["", "a", "b", "c"], 0)),
        (["a", "b", "c"], [BLANK_LAST], (["a", "b", "c", ""], 3)),
        (["a", "b"], [BLANK_LAST], (["", "a", "b", " "], 0)),
    ],
)
def test_the_blank(letters: list[str], runs: list[np.ndarray], expected: tuple[list[str], int]) -> None:
    found = fit(Letters(letters, "metadata"), 4, runs)
    assert found is not None
    assert (found.letters, found.blank) == expected
    assert fit(Letters(letters, "metadata"), 9, runs) is None


def test_indices_in_place_of_letters() -> None:
    found = unknown(4, [BLANK_LAST])
    assert (found.letters, found.blank, found.known) == (["0", "1", "2", "3"], 3, False)
    assert found.split("2 10 1") == ["2", "10", "1"]
    assert found.join([2, 1]) == "2 1"


SOURCES: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({"character": "\n".join(LETTERS)}, {}, "metadata"),
    ({"character": "\n".join(LETTERS) + "\n"}, {}, "metadata"),
    ({"charset": str(LETTERS)}, {}, "metadata"),
    ({"onnxcam": json.dumps({"schema": 1, "letters": "".join(LETTERS)})}, {}, "card"),
    ({"onnxcam": json.dumps({"schema": 1, "labels": ["", *LETTERS, " "]})}, {}, "card"),
    ({}, {"labels": ["", *LETTERS, " "]}, "user"),
    ({}, {"labels": LETTERS}, "user"),
    ({"character": "\n".join("ABCDEFGHIJKL")}, {"said": {"letters": "".join(LETTERS)}}, "user"),
]


@pytest.mark.parametrize(("metadata", "settings", "source"), SOURCES)
def test_who_says_the_letters(metadata: dict[str, str], settings: dict[str, Any], source: str) -> None:
    opened = Opened(reader(**metadata), **settings)
    task = opened.network.task
    assert isinstance(task, TextRecognition)
    assert task.alphabet.source == source
    assert opened.goal(None, written([11, 2])).label == "A1"
    assert opened.goal("text=A1", written([11, 2])).feed.any()


def test_scores_before_softmax_are_letters_where_letters_are_written() -> None:
    for letters, expected in (("\n".join(LETTERS), True), ("abc", False)):
        task = Opened(reader(14, "y = Identity(z)", character=letters)).network.task
        assert isinstance(task, TextRecognition) is expected


def test_a_file_of_letters(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("\n".join(LETTERS) + "\n", "utf-8")
    opened = Opened(reader(), said={"letters": str(tmp_path / "letters.txt")})
    assert opened.goal(None, written([11, 2])).label == "A1"


def test_letters_beside_the_model(tmp_path: Path) -> None:
    onnx.save(reader(), tmp_path / "rec.onnx")
    (tmp_path / "ppocr_keys_v1.txt").write_text("\n".join(LETTERS), "utf-8")
    parts = {part.name: part for part in Explainer(tmp_path / "rec.onnx").network.reading}
    assert str(parts["letters"]) == "letters: 14 with the blank at 0, '0' to ' ' (ppocr_keys_v1.txt beside the model)"


def test_unknown_letters_are_indices() -> None:
    opened = Opened(reader())
    goal = opened.goal(None, written([11, 2]))
    assert goal.words == 'text="11 2"'
    assert goal.note == "what the model reads, '11 2', indices of letters; name the letters by letters= (--letters)"
    np.testing.assert_array_equal(opened.goal(goal.words, written([11, 2])).feed, goal.feed)
    with pytest.raises(TargetError, match=r"text 'AB': the model's letters are not known\. Name them by letters="):
        opened.goal("text=AB", written([11, 2]))


def test_letters_of_another_number() -> None:
    with pytest.raises(TargetError, match="letters: 3 letters, but the output 'y' has 14 scores for each frame"):
        Opened(reader(), said={"letters": "abc"})


def test_a_long_alphabet_is_cut_in_a_message() -> None:
    letters = "\n".join(chr(0x4E00 + i) for i in range(998))
    with pytest.raises(TargetError, match="is not in the model's alphabet") as found:
        Opened(reader(1000, character=letters)).goal("text=A", written([1], 1000))
    assert len(str(found.value)) < 400


@pytest.mark.parametrize("last", ["y = Identity(z)", "y = Sigmoid(z)"])
def test_other_outputs_of_three_axes_are_no_letters(last: str) -> None:
    assert not isinstance(Opened(reader(14, last)).network.task, TextRecognition)
