"""Targets in words: every spelling, every error with its mark, and nothing but errors of ours."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcam.errors import TargetError
from onnxcam.targets.kinds import (
    Against,
    Box,
    Class,
    ClassRegion,
    Contrast,
    Detection,
    Group,
    Keypoint,
    Like,
    MeanRegion,
    Patch,
    TensorElement,
    Text,
    Top,
    Word,
)
from onnxcam.targets.parser import parse, quoted
from onnxcam.targets.registry import KINDS, TargetKind

WORDS = [
    *(
        "top",
        "top=5",
        "281",
        "tabby",
        "any:cat,281-285",
        "any:cat-any:dog",
        "not 281",
        "281-285",
        "y[0, 281]",
        "y[0, :].mean()",
        "y[:, 1:5:2].sum()",
    ),
    *(
        "box=1.5,2,3,4",
        "box=1,2,3,4 class=dog",
        "detection=0",
        "detection=2 class=3",
        "class=3",
        'class="a b" mask=m.png',
    ),
    *("like=a.png unlike=b.png", 'text="A B" at=0', 'word=red after="a small"', "word=red step=2", "patch=1,2,30,40"),
    *("keypoint=3", "keypoint=nose axis=x", "region=1,2,30,40"),
]
LABELS = ["tabby, tabby cat", "t-shirt", "traffic light", "not a cat", "box=1"]
SPELT: list[tuple[Any, TargetKind]] = [
    (None, Top()),
    ("top", Top()),
    ("top=5", Top(5)),
    (281, Class(281)),
    (np.int64(3), Class(3)),
    (" 281 ", Class(281)),
    ("-1", Class(-1)),
    ("tabby", Class("tabby")),
    ("unknown", Class("unknown")),
    ("9" * 30, Class("9" * 30)),
    ("#281", Class(281)),
    ("#1-#2", Contrast(1, 2)),
    ("not #1", Against(1)),
    ("class=#3", ClassRegion(3)),
    ("any:cat", Group(("cat",))),
    ("any:4, cat,1-2", Group(("cat", 1, 2, 4))),
    ("any:t-shirt", Group(("t-shirt",))),
    ("any:1-3", Group((1, 2, 3))),
    ("any:1-3-2", Contrast(Group((1, 2, 3)), 2)),
    ("any:cat-any:#1-#2", Contrast(Group(("cat",)), Group((1, 2)))),
    ("tabby-any:dog", Contrast("tabby", Group(("dog",)))),
    ("not any:cat", Against(Group(("cat",)))),
    ("281-285", Contrast(281, 285)),
    ("top-281", Contrast("top", 281)),
    ("tabby-t-shirt", Contrast("tabby", "t-shirt")),
    ("t-shirt - tabby cat", Contrast("t-shirt", "tabby cat")),
    ("not 281", Against(281)),
    ("not t-shirt", Against("t-shirt")),
    ("y[0, 281]", TensorElement("y", (0, 281))),
    ("y[0,-1]", TensorElement("y", (0, -1))),
    ("a/b:0[:, 3].sum()", TensorElement("a/b:0", (slice(None), 3))),
    ("y[0, 1:5:2, :].mean()", TensorElement("y", (0, slice(1, 5, 2), slice(None)), mean=True)),
    ("y[0, 3].sum()", TensorElement("y", (0, 3))),
    ("box=10,20,90,80", Box((10, 20, 90, 80))),
    ("box=-1.5,20,90,8e1 class=dog", Box((-1.5, 20, 90, 80), "dog")),
    ('class="traffic light" box=1,2,3,4', Box((1, 2, 3, 4), "traffic light")),
    ("detection=2", Detection(2)),
    ("detection=0 class=3", Detection(0, 3)),
    ("class=3", ClassRegion(3)),
    ("mask=m.png", ClassRegion(None, "m.png")),
    ("mask='my mask.png' class=3", ClassRegion(3, "my mask.png")),
    ("like=a.png", Like("a.png")),
    ("unlike=b.png", Like(None, "b.png")),
    ("like=a[1].png unlike=b.png", Like("a[1].png", "b.png")),
    ("text=AB12", Text("AB12")),
    ('text="A B" at=2', Text("A B", 2)),
    ("at=0 text='say \"a\"'", Text('say "a"', 0)),
    ("word=red", Word("red")),
    ('word=red after="a small"', Word("red", "a small")),
    ('after=""', Word(None, "")),
    ("word=red step=2", Word("red", None, 2)),
    ("step=2", Word(None, None, 2)),
    ("patch=10,20,90,80", Patch((10, 20, 90, 80))),
    ("keypoint=3", Keypoint(3)),
    ("keypoint=nose axis=x", Keypoint("nose", "x")),
    ("region=10,20,90,80", MeanRegion((10, 20, 90, 80))),
]


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("90", Class("90")),
        ("#0", Class(0)),
        ("1", Class(1)),
        ("not 90", Against("90")),
        ("180-1", Contrast("180", 1)),
        ("class=90", ClassRegion("90")),
        ("detection=0 class=#2", Detection(0, 2)),
    ],
)
def test_names_that_are_numbers_win_over_indices(words: str, target: TargetKind) -> None:
    assert parse(words, ["0", "90", "180"]) == target


@pytest.mark.parametrize(("words", "target"), SPELT, ids=[str(words) for words, _ in SPELT])
def test_every_spelling(words: Any, target: TargetKind) -> None:
    assert parse(words, LABELS) == target
    assert parse(target) is target


def test_every_kind_has_a_case() -> None:
    assert {type(target) for _, target in SPELT} == set(KINDS)


@pytest.mark.parametrize("label", LABELS)
def test_a_label_as_a_whole_is_that_class(label: str) -> None:
    assert parse(label, LABELS) == Class(label)


ERRORS = [
    ("top=0", "'0' is no number above 0", 4),
    ("top=²", "'²' is no number above 0", 4),
    ("detection=-1", "'-1' is no number; count from 0", 10),
    ("text=AB at=x", "'x' is no number; count from 0", 11),
    ("at=2", "at= needs text=", 0),
    ("any:", "a class is missing here; any: takes words, numbers and ranges", 4),
    ("any:cat, ,3", "a class is missing here", 9),
    ("any:cat,5-2", "'5-2' is no range of classes; the first one comes first", 8),
    ("any:a-any:b-any:c", "a contrast has two sides", 4),
    ("box=1,2,3", "four numbers, not 3", 9),
    ("box=1,2,3,4,5", "four numbers, not 5", 13),
    ("box=1,2,x,4", "'x' is no number; a rectangle is x1,y1,x2,y2", 8),
    ("box=1,2,inf,4", "'inf' is no number", 8),
    ("box=1,2,nan,4", "'nan' is no number", 8),
    ("box=3,2,1,4", "the rectangle is empty; x1 < x2 and y1 < y2", 4),
    ("patch=1,1,2,1", "the rectangle is empty", 6),
    ("box=1,2,3,4 word=red", "with box= you may give class=, coordinate=, not word=", 12),
    ("box=1,2,3,4 class=3 detection=1", "with box= and class= you may give coordinate=, not detection=", 20),
    ("word=a after=b step=1", "with word= and after= you may give nothing else, not step=", 15),
    ("top=1 class=3", "with top= you may give nothing else, not class=", 6),
    ("box=1,2,3,4 box=1,2,3,4", "box= is given twice", 12),
    ("box=1,2,3,4   dog", "a key=value is missing here", 14),
    ("bax=1,2,3,4", "there is no bax=; there are top, box, ", 0),
    ("text=A att=1", "there is no att=; .* Did you mean 'at'", 7),
    ("text=", "a key=value is missing here", 0),
    ("y[0, a]", "'a' is no index", 5),
    ("y[]", "'' is no index", 2),
    ("y[0, " + "9" * 19 + "]", f"'{'9' * 19}' is out of range", 5),
    ("y[0, ²]", "'²' is no index", 5),
    ("y[0, ::0].sum()", "'::0' is no index", 5),
    ("y[0, 1:2:3:4]", "'1:2:3:4' is no index", 5),
    ("y[0, :]", r"several elements need .sum\(\) or .mean\(\)", 7),
    ("y[0, 1].max()", r"only .sum\(\) or .mean\(\) may follow the brackets", 7),
]


@pytest.mark.parametrize(("words", "message", "place"), ERRORS, ids=[words for words, *_ in ERRORS])
def test_every_error_marks_its_place(words: str, message: str, place: int) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        parse(words)
    said, shown, mark = str(caught.value).split("\n")
    assert said.startswith("the target does not parse: ")
    assert shown == f"  {words}"
    assert mark == f"  {' ' * place}^"


def test_what_is_no_target_at_all() -> None:
    with pytest.raises(TargetError, match="a target cannot be a float; give a class index, a label or words"):
        parse(1.5)  # type: ignore[arg-type]
    with pytest.raises(TargetError, match="the target is empty; give a class index, a label, or top"):
        parse("  ")


@given(st.text(alphabet=st.sampled_from("abox=,[]:.-+'\" 0129²³९\ntclsm()")) | st.text())
def test_any_text_is_a_target_or_an_error_of_ours(words: str) -> None:
    with contextlib.suppress(TargetError):
        parse(words, LABELS)


@given(st.text(min_size=0).filter(lambda text: not ('"' in text and "'" in text)))
def test_a_quoted_value_is_the_value(text: str) -> None:
    assert parse(f"text={quoted(text)}") == Text(text)


def test_arrays_have_no_words() -> None:
    assert quoted(np.zeros((2, 2))) == "array"


@pytest.mark.parametrize("words", WORDS)
def test_a_target_is_told_in_words(words: str) -> None:
    assert str(parse(words)) == words


def test_every_kind_is_told_in_words() -> None:
    assert {type(parse(words)) for words in WORDS} == set(KINDS)
