"""Every convention of the zoo is read without options: its task, scores, boxes, letters, layer and place."""

from __future__ import annotations

import importlib
from pathlib import Path
from pkgutil import iter_modules

import pytest

from tests import zoo
from tests.zoo.convention import Convention

MODULES = [f"tests.zoo.{module.name}" for module in iter_modules(zoo.__path__)]
CONVENTIONS: list[Convention] = [
    one for name in MODULES if name != __name__ for one in getattr(importlib.import_module(name), "CONVENTIONS", ())
]


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
def test_it_is_read(convention: Convention, tmp_path: Path) -> None:
    convention.read(tmp_path)


def test_names_are_unique() -> None:
    assert len({one.name for one in CONVENTIONS}) == len(CONVENTIONS)
