"""Every convention of the zoo is read without options: its task, scores, boxes, letters, layer and place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.convention import Convention
from tests.zoo.conventions import CONVENTIONS
from tests.zoo.table import PAGE, page


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
def test_it_is_read(convention: Convention, tmp_path: Path) -> None:
    convention.read(tmp_path)


def test_names_are_unique() -> None:
    assert len({one.name for one in CONVENTIONS}) == len(CONVENTIONS)


def test_the_page_is_that_of_the_zoo() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python -m tests.zoo.table"
