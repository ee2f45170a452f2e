"""The least part of a ranking for which something holds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from onnxcam.diagnosis.repair_search import least

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("needed", ["a", "c", "ad", "bhz", "xyz", LETTERS])
def test_finds_what_is_needed(needed: str) -> None:
    tries = []

    def holds(kept: Sequence[str]) -> bool:
        tries.append(kept)
        return set(needed) <= set(kept)

    assert set(least(list(LETTERS), holds) or []) == set(needed)
    assert len(tries) <= 64


def test_nothing_holds() -> None:
    assert least(["a", "b"], lambda kept: False) is None
