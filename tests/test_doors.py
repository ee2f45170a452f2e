"""The list of doors (docs/doors.md) names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_file_that_the_list_of_doors_names_exists() -> None:
    page = ROOT / "docs" / "doors.md"
    if not page.is_file():
        pytest.skip("the docs are not beside the tests")
    named = re.findall(r"`((?:onnxcam|converters|tests)/[\w/.]+)`", page.read_text("utf-8"))
    assert len(named) > 60
    assert [name for name in named if not (ROOT / name).is_file()] == []
