"""A short campaign with fixed seeds: the long one is ``python -m tests.fuzz`` (docs/fuzzing.md)."""

from __future__ import annotations

import pytest

from tests.fuzz.campaign import campaign

COUNTS = {"models": 200, "pictures": 100, "companions": 60, "recordings": 60, "words": 80, "others": 40}
pytestmark = pytest.mark.slow
PARTS = 8


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_bad_input_gets_one_plain_line(part: int) -> None:
    counts = [word for kind, count in COUNTS.items() for word in (f"--{kind}", str(count))]
    campaign(*counts, "--part", f"{part}/{PARTS}")
