"""Write docs/what-is-read.md from the zoo: ``python -m tests.zoo.table``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tests.zoo.convention import Convention
from tests.zoo.conventions import CONVENTIONS

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[2] / "docs" / "what-is-read.md"

_HEAD = """\
# What is read

Each row is a convention of a producer of ONNX files that onnxcam reads without options: the task, the outputs and what
they mean, the preprocessing, the layer, the place of the map. A test reads a tiny model of each row (`tests/zoo/`) and
compares with its known meaning. `onnxcam inspect` prints what was read of your file and how each part is known.

This page is written by `python -m tests.zoo.table`. To add a convention, add a row to a file of `tests/zoo/`.
"""


def page() -> str:
    """Return the page: a table for each task."""
    tasks = sorted(CONVENTIONS, key=lambda one: (one.task.split(" ", 1)[1], one.name))
    groups = groupby(tasks, key=lambda one: one.task.split(" ", 1)[1])
    return _HEAD + "".join(_table(title, list(rows)) for title, rows in groups)


def _table(title: str, rows: list[Convention]) -> str:
    lines = [f"\n## {title.capitalize()}\n", "| convention | producer | used by | signature |", "|---|---|---|---|"]
    return "\n".join([*lines, *_rows(rows)]) + "\n"


def _rows(rows: list[Convention]) -> Iterator[str]:
    for one in rows:
        cells = (one.name, one.producer, one.users, one.signature)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
