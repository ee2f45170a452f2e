"""`benchmarks/gpu.py` without a GPU: its table, its errors and its end when the time is over."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest

from onnxcam.engine import SHORT
from tests.networks import hand_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the script; the tests that it runs are left out."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = importlib.import_module("gpu")
    monkeypatch.setattr(found, "tests", lambda provider, seconds: f"tests on {provider}")
    yield found
    for name in ("built", "environment", "gpu", "on_device", "table"):
        sys.modules.pop(name, None)


def test_a_dry_run_fills_the_table(gpu: Any, tmp_path: Path) -> None:
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    out = tmp_path / "gpu.md"
    words = [str(tmp_path / "hand.onnx"), "--provider", "cpu", "--minutes", "1", "--batch", "1", "2", "-o", str(out)]
    assert gpu.main(words) in (0, 1)  # 1 where a ratio misses its goal, which says nothing here
    text = out.read_text("utf-8")
    for dtype in ("float32", "float16"):
        for batch in (1, 2):
            rows = [line for line in text.splitlines() if f"| {dtype}, batch {batch} |" in line]
            assert len(rows) == (8 if batch == 1 else 6)
            assert sum("copies inside a run" in row and "0.00 more | pass" in row for row in rows) == 2
            assert all("| 0e+00 |" in row for row in rows if "distance" in row)
    assert "tests on cpu" in text
    assert "Left out" not in text


def test_at_the_end_of_the_time_it_says_what_is_left(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(gpu.os, "_exit", codes.append)
    report = gpu.Report(tmp_path / "gpu.md", ["float16, batch 64"], "a machine")
    report.add(gpu.Row("gradcam / plain inference", "float32, batch 1", 1.04, "×", "", 1.05))
    gpu._stop(report)
    text = (tmp_path / "gpu.md").read_text("utf-8")
    assert codes == [1]
    assert "≤ 1.05 × | 1.04 × | pass" in text
    assert "Left out, the time was over: float16, batch 64." in text
    assert "left out: float16, batch 64" in capsys.readouterr().out


def test_a_runtime_without_the_provider(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lacking = next(name for name, long in SHORT.items() if long not in onnxruntime.get_available_providers())
    assert gpu.main(["--provider", lacking]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: this onnxruntime has no {SHORT[lacking]}; install onnxruntime-gpu")
