"""The part of YAML that configuration files of PaddlePaddle use."""

from __future__ import annotations

from typing import Any

import pytest

from onnxcam.metadata.block_yaml import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1\nb: 2.5\nc: 1e-3\nd: -4", {"a": 1, "b": 2.5, "c": 1e-3, "d": -4}),
        ("a: true\nb: False\nc: null\nd: ~\ne:", {"a": True, "b": False, "c": None, "d": None, "e": None}),
        ("a: 'it''s'\nb: \"x\\ny\"\nc: plain words\nd: ''", {"a": "it's", "b": "x\ny", "c": "plain words", "d": ""}),
        ("a:\n- 1\n- 2\nb: 3", {"a": [1, 2], "b": 3}),
        ("a:\n  - 1\n  -\n    x: 1\n    y: 2\n", {"a": [1, {"x": 1, "y": 2}]}),
        ("- a:\n    b: 1\n- c: null\n  d: [1, 'x', 2.0]\n", [{"a": {"b": 1}}, {"c": None, "d": [1, "x", 2.0]}]),
        ("- - 1\n  - 2\n- - 3", [[1, 2], [3]]),
        ("# note\na: 1 # more\n\n---\nb: '#'", {"a": 1, "b": "#"}),
        ("a: {}\nb: []", {"a": {}, "b": []}),
        ("characters:\n- '!'\n- '\"'\n- '#'\n- $\n- ''''\n- (\n- '-'\n- '1'\n- a", {"characters": list("!\"#$'(-1a")}),
    ],
)
def test_it_is_read(text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["a: &x 1", "a: *x", "a: |\n  text", "a: !!int 3", "a: 1\n   b: 2", "a: {b: 1}"])
def test_the_rest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"YAML that is not read|another indentation"):
        parse(text)
