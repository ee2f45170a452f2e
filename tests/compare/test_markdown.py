"""Markdown and the picture of the worst images: what a pull request shows of a validation."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxcam.compare.report.markdown import markdown
from onnxcam.compare.report.worst import WORST, worst_picture
from onnxcam.files import is_ours
from tests.compare.hostile import HOSTILE
from tests.compare.validations import PHOTO, pair, validation

MARKED = {"markdown": "@octocat #12 a|b `c` [d](http://e) www.f.g ![h](i)"}


def table(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose first column is called *head*."""
    rows = text[text.index(f"| {head} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_the_requirements_and_the_worst_images() -> None:
    text = markdown(validation([pair(f"{moved}.png", moved / 10) for moved in range(7)], required=("iou >= 0.8",)))
    assert text.startswith("### ❌ onnxcam: failed on 7 images\n\ncandidate net\\_int8.onnx, reference net.onnx\n")
    assert table(text, "requirement") == [["`iou >= 0.8`", "0.700", "0.690 – 0.710", "❌ fails"]]
    first = [[f"{at}.png", "cat", "dog", f"iou 0.{10 - at}00"] for at in (6, 5)]
    assert table(text, "worst images")[:2] == first
    assert len(table(text, "worst images")) == WORST


def test_a_doubt_stands_in_its_place() -> None:
    text = markdown(validation([pair("a.png")], doubt="state -p unit", required=("kept >= 0.9",)))
    assert "⚠️ onnxcam: undecided on 1 image" in text
    assert "state -p unit" in text
    assert table(text, "requirement") == [["`kept >= 0.9`", "not measured", "–", "❌ fails"]]


@pytest.mark.parametrize("name", (HOSTILE | MARKED).values(), ids=HOSTILE | MARKED)
def test_names_of_others_stay_text(name: str) -> None:
    text = markdown(validation([pair(name, names=[name, name])], warnings=[name], unreadable=[(name, name)]))
    text.encode()
    rows = table(text, "worst images")
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in text.splitlines() if row.startswith("| ")] == [5] * 7
    assert len(rows) == 1
    own = re.sub(r"<details>.*</summary>|</details>|<sub>.*</sub>|`[\w >=.]+`", "", text)
    assert re.findall(r"(?<!\\)[<`\[!]|www\.|[a-z]://|[@#](?!\u200b|##? |#)", own.removeprefix("###")) == []
    assert len(text) < 20_000


def test_many_warnings_are_cut() -> None:
    text = markdown(validation([pair("a.png")], warnings=["w" * 900] * 5000))
    assert "and 4990 more, in validation.json" in text
    assert len(text) < 65_536


def test_the_picture(tmp_path: Path) -> None:
    pairs = [pair(PHOTO, 0.7), pair("gone.png", 0.5), pair(PHOTO, 0.1, maps=(None, None)), pair(PHOTO, 0.2, objects=())]
    data = worst_picture(validation(pairs))
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    row = 26 + 180  # a line of text, and a tile of 240 × 180
    assert drawn.shape == (26 + 4 * row, 4 * 248 + 8, 3)
    tiles = drawn[26 + 26 : 26 + row, 8:248], drawn[26 + row + 26 : 26 + 2 * row, 8:248]
    assert [len(np.unique(tile)) == 1 for tile in tiles] == [False, True]  # what cannot be read is grey
    (tmp_path / "worst.png").write_bytes(data)
    assert is_ours(tmp_path / "worst.png")
    assert worst_picture(validation([])).startswith(b"\x89PNG")
