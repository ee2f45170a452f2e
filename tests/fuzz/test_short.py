"""A short campaign with fixed seeds: the long one is ``python -m tests.fuzz`` (docs/fuzzing.md)."""

from __future__ import annotations

import pytest

from tests.fuzz.campaign import campaign

COUNTS = {"models": 40, "pictures": 20, "companions": 12, "recordings": 12, "words": 16, "others": 8}
pytestmark = pytest.mark.slow
PARTS = 2


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_bad_input_gets_one_plain_line(part: int) -> None:
    counts = [word for kind, count in COUNTS.items() for word in (f"--{kind}", str(count))]
    campaign(*counts, "--part", f"{part}/{PARTS}")
