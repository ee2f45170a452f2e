"""What counts as a clean answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.outcome import Ran, findings, remarks


def ran(**changes: Any) -> Ran:
    """Return a run that was refused as it ought to be, with *changes*."""
    clean: dict[str, Any] = {
        "words": ["explain", "m.onnx", "a.png", "-o", "out"],
        "status": 2,
        "out": b"",
        "err": b"warning: a guess\nerror: a.png: no such file; check the name\n",
        "stacks": "",
        "before": {"m.onnx": "1"},
        "after": {"m.onnx": "1"},
        "temporary": [],
        "folder": Path(),
    }
    return Ran(**{**clean, **changes})


def test_one_line_of_error_is_clean() -> None:
    assert findings(ran()) == []
    assert findings(ran(err=b"error: iou > \n  iou > \n        ^\n")) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"err": b""}, "0 lines of error"),
        ({"err": b"error: a\nerror: b\n"}, "2 lines of error"),
        ({"err": b"libpng error: x\nerror: a\n"}, "another's line: libpng error"),
        ({"err": b"error: \x1b[31mred\n"}, "control characters on stderr"),
        ({"err": b"error: \xff\n"}, "stderr is not UTF-8"),
        ({"err": b"error: " + b"x" * 3000}, "a line of more than 2000 characters"),
        ({"status": 0, "err": b"", "words": ["explain", "--json"], "out": b'{"a": NaN}'}, "stdout is no JSON"),
        ({"status": 1, "err": b""}, "exit code 1 of explain"),
        ({"status": 120, "err": b"MemoryError"}, "could not be laid out"),
        ({"after": {"m.onnx": "1", "out": "folder"}}, "an empty folder is left"),
        ({"after": {"m.onnx": "1", "x.onnx.part": "2"}}, "a draft is left"),
        ({"temporary": ["tmp/x"]}, "a temporary file is left"),
        ({"after": {"m.onnx": "2"}}, "an input is changed or gone"),
        (
            {"status": -11, "stacks": 'Thread 0x1\n  File "/a/onnxcam/graph/io.py", line 3 in load\n'},
            "SIGSEGV @ onnxcam/graph/io.py",
        ),
        ({"status": -24}, "hang @"),
    ],
)  # fmt: skip
def test_all_else_is_a_finding(changes: dict[str, Any], says: str) -> None:
    (found,) = findings(ran(**changes))
    assert says in found


def test_a_traceback_is_told_by_the_innermost_frame_of_ours() -> None:
    stack = b"""Traceback (most recent call last):
  File "/x/onnxcam/cli/__init__.py", line 50, in main
  File "/x/onnxcam/structure/layout.py", line 56, in permuted
  File "/lib/numpy/core.py", line 1, in f
ValueError: 3 is not in list
"""
    assert findings(ran(err=stack, status=1)) == ["traceback ValueError @ onnxcam/structure/layout.py:56 permuted"]


def test_what_the_net_caught_is_a_remark() -> None:
    caught = ran(
        err=b"error: onnxcam explain 'm.onnx': unexpected KeyError in runner.run: 'a'; if the input is valid, \n"
    )
    assert findings(caught) == []
    assert remarks(caught) == ["caught by the net: KeyError @ runner.run"]
