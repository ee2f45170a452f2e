"""Run cases in processes of their own."""

from __future__ import annotations

import subprocess
import sys

from tests.fuzz.place import ROOT


def campaign(*words: str) -> None:
    """Run cases in processes forked from a fresh one: here ONNX Runtime may have threads, which no fork outlives."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *words, "--jobs", "1"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr[-2000:]}\npython -m tests.fuzz KIND SEED runs one again"
