"""The notebooks of examples/ run, and what the repository holds of them is what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.notebooks import EXAMPLES, executed

NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
LARGEST = 300_000  # bytes


@pytest.fixture
def nbformat() -> Any:
    pytest.importorskip("ipykernel", reason="extra test")
    pytest.importorskip("nbclient", reason="extra test")
    return pytest.importorskip("nbformat", reason="extra test")


def kinds(notebook: Any) -> list[list[set[str]]]:
    """What each cell shows: the kinds of its outputs."""
    return [
        [set(one.get("data", {"text": ""})) for one in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["classifier", "detector_int8", "own_method"]
    assert all(path.stat().st_size < LARGEST for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_the_repository_holds(path: Path, nbformat: Any) -> None:
    if path.stem == "classifier":
        pytest.importorskip("anywidget", reason="extra notebook")
    kept = nbformat.read(path, as_version=4)
    nbformat.validate(kept)
    assert kinds(executed(path)) == kinds(kept)  # CellExecutionError where a cell fails
