"""Captioners: the next word, given the words before."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from onnxcam.errors import TargetError
from onnxcam.targets.captioning import Captions
from tests.targets.opened import Opened

WORDS = ["", "<start>", "a", "small", "red", "circle", "<end>"]
NEXT = {"": "a", "<start>": "a", "a": "small", "small": "red", "red": "circle", "circle": "<end>", "<end>": ""}


def captioner(length: object = 6, start: bool = True, words: list[str] | None = None) -> onnx.ModelProto:
    """After each word comes the next of *NEXT*, and the image adds its mean to ``red``."""
    vocabulary = words or (WORDS if start else [word for word in WORDS if word != "<start>"])
    table = np.zeros((len(vocabulary), len(vocabulary)), np.float32)
    for row, word in enumerate(vocabulary):
        table[row, vocabulary.index(NEXT[word])] = 3
    hot = np.array([[[float(word == "red") for word in vocabulary]]], np.float32)
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    captioner (float[n, 1, 2, 2] x, int64[n, {length}] words) => (float[n, {length}, {len(vocabulary)}] y)
    <int64[1] one = {{1}}>
    {{
        p = GlobalAveragePool(x)
        f = Squeeze(p, one)
        m = Mul(f, hot)
        e = Gather<axis = 0>(table, words)
        y = Add(e, m)
    }}
    """)
    for array, name in ((table, "table"), (hot, "hot")):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    card = {"schema": 1, "task": "caption", "labels": vocabulary, "vocabulary": {"words": vocabulary}}
    onnx.helper.set_model_props(model, {"onnxcam": json.dumps(card)})
    return model


X = np.ones((1, 1, 2, 2), np.float32)
LENGTHS = [6, "l"]  # open ones too


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("length", LENGTHS)
def test_the_models_own_caption(length: object, start: bool) -> None:
    opened = Opened(captioner(length, start))
    assert isinstance(opened.network.task, Captions)
    goal = opened.goal(None, X)
    assert goal.note == "the first word of the model's own caption, 'a small red circle'"
    assert (goal.label, goal.words) == ("a", 'word=a after=""')
    for step, word in enumerate(["a", "small", "red", "circle"]):
        assert opened.goal(f"step={step}", X).label == word
        assert opened.goal(f"word={word}", X).words == opened.goal(f"step={step}", X).words


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("length", LENGTHS)
def test_where_the_score_of_a_word_stands(length: object, start: bool) -> None:
    opened = Opened(captioner(length, start))
    vocabulary = WORDS if start else [word for word in WORDS if word != "<start>"]
    goal = opened.goal('word=red after="a small"', X)
    before = (["<start>"] if start else []) + ["a", "small"]
    assert goal.inputs["words"][: len(before)].tolist() == [vocabulary.index(word) for word in before]
    assert not goal.inputs["words"][len(before) :].any()
    assert np.argwhere(goal.feed).tolist() == [[len(before) - 1, vocabulary.index("red")]]
    again = opened.goal(goal.words, X)
    np.testing.assert_array_equal(again.feed, goal.feed)
    np.testing.assert_allclose(opened.gradient(goal, X), 0.25)  # the mean over four pixels
    assert opened.goal('after="a small"', X).label == "red"
    assert opened.goal("word=circle step=2", X).words == 'word=circle after="a small"'


ERRORS = [
    ("word=blue", "the word 'blue' is not in the model's vocabulary."),
    ('word=red after="a bleu"', "the word 'bleu' is not in the model's vocabulary."),
    ("step=4", "the caption 'a small red circle' has no word 4; they are counted from 0"),
    ("word=<start>", "the word '<start>' is not in the model's caption 'a small red circle'; say after which words"),
    ('after="a a a a a a"', "6 words before are too many: the model takes 5"),
    ('word=red after="a a a a a a"', "6 words before are too many: the model takes 5"),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[words for words, _ in ERRORS])
def test_errors(words: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        Opened(captioner()).goal(words, X)


def test_no_caption_at_all() -> None:
    model = captioner()
    table = np.zeros((7, 7), np.float32)
    table[:, WORDS.index("<end>")] = 3
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(table, "table"))
    with pytest.raises(TargetError, match="the model writes no caption for this image; name words with after="):
        Opened(model).goal(None, X)
