"""The card is written and read back as it is, and what it says in another form than expected is passed over."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from onnxcam.errors import ModelError
from onnxcam.metadata.card import KEY, TASKS, Card
from onnxcam.metadata.labels import ClassNames

FULL = Card(
    "caption",
    "unit",
    ["<end>", "red", "circle"],
    {"words": ["", "<start>", "red", "circle"]},
    layers={"relu": "body.0"},
    producer={"onnxcam": "0.1"},
)


def read(**parts: Any) -> Card:
    return Card.of({KEY: json.dumps({"schema": 1, **parts})})


def test_what_is_put_is_read() -> None:
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 18}), ir_version=10)
    FULL.put(model)
    assert Card.of(model.metadata_props) == FULL
    Card().put(model)
    assert json.loads(model.metadata_props[KEY]) == {"schema": 1}


@pytest.mark.parametrize("task", TASKS)
def test_tasks(task: str) -> None:
    assert read(task=task).task == task


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("task", "sorting"),
        ("task", ["image"]),
        ("preprocess", 7),
        ("labels", "cat"),
        ("labels", ["cat", 1]),
        ("vocabulary", ["", "cat"]),
        ("vocabulary", {"words": "cat"}),
        ("vocabulary", {"words": ["", "cat"], "more": ["", 1]}),
        ("layers", ["relu"]),
        ("producer", {"onnxcam": 1}),
    ],
)
def test_a_part_of_another_form_is_passed_over(part: str, value: Any) -> None:
    good = {"preprocess": "unit"} if part != "preprocess" else {"task": "image"}
    assert read(**{part: value}, **good) == read(**good) != Card()


@pytest.mark.parametrize(
    "text", ["{", "[]", '"card"', '{"schema": 2, "task": "image"}', '{"task": "image"}', "[" * 10**5]
)
def test_a_card_that_is_not_understood_is_none(text: str) -> None:
    assert Card.of({KEY: text}) == Card.of({}) == Card()


def test_the_page_names_every_part_and_task() -> None:
    page = (Path(__file__).parents[2] / "docs" / "card.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == {"schema", "task", *vars(Card()), *TASKS}


def test_what_the_user_says_takes_the_place_of_the_card() -> None:
    names = ClassNames(metadata={KEY: json.dumps({"schema": 1, "task": "caption"})}, said={"task": "text"})
    assert names.card.task == "text"
    assert (names.source("task"), names.source("boxes")) == ("user", None)
    assert ClassNames(metadata=names.metadata).source("task") == "card"
    with pytest.raises(ModelError, match="there is no task 'tex'; take one of multi-class, "):
        ClassNames(said={"task": "tex"}).check()
