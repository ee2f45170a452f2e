"""A short campaign with fixed seeds: the long one is ``python -m tests.fuzz`` (docs/fuzzing.md)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fuzz.place import ROOT

COUNTS = {"models": 200, "pictures": 100, "companions": 60, "recordings": 60, "words": 80, "others": 40}
PARTS = 8


def campaign(*words: str) -> None:
    """Run cases in processes forked from a fresh one: here ONNX Runtime may have threads, which no fork outlives."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *words, "--jobs", "1"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr[-2000:]}\npython -m tests.fuzz KIND SEED runs one again"


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_bad_input_gets_one_plain_line(part: int) -> None:
    counts = [word for kind, count in COUNTS.items() for word in (f"--{kind}", str(count))]
    campaign(*counts, "--part", f"{part}/{PARTS}")
