"""Conventions as parameters of a test that is not about how a model is read: tests/zoo/test_zoo.py reads each."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.zoo.conventions import CONVENTIONS


def without(tasks: Sequence[str]) -> list[object]:
    """Return the conventions of all other tasks; the environment test-core tests only the first of each task."""
    chosen = [one for one in CONVENTIONS if one.task not in tasks]
    first = {one.task: one for one in reversed(chosen)}
    return [one if first[one.task] is one else pytest.param(one, marks=pytest.mark.slow) for one in chosen]
