"""What the campaign once found, as permanent cases (`cases`)."""

from __future__ import annotations

import pytest

from tests.fuzz.campaign import campaign

pytestmark = pytest.mark.slow
PARTS = 2


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_findings_stay_away(part: int) -> None:
    campaign("--cases", "--part", f"{part}/{PARTS}")
