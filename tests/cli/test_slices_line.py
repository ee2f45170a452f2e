"""What `validate` and `compare` print of the truth: one row for each measure, and one line on the worst slice."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from onnxcam.cli import verdict
from onnxcam.compare.slices import TruthScores, TruthSlice
from tests.compare.validations import PHOTO, pair, validation

SLICES = [TruthSlice("class", "dog", 20, "map50_95", 0.8, 0.3), TruthSlice("class", "cat", 9, "map50_95", 0.8, 0.1)]


def test_the_worst_slice_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = validation([pair(PHOTO)], truth=TruthScores({"map50": (0.9, 0.5)}, SLICES))
    verdict.finish(found, tmp_path / "out", overwrite=False, as_json=False)
    told = capsys.readouterr()
    assert "map50\t0.9000\t0.5000" in told.out
    (line,) = (one for one in told.err.splitlines() if one.startswith("slices:"))
    assert line.startswith(
        "slices: the candidate loses most on 'dog' (20 objects), by the truth: mAP at IoU 0.5 to 0.95 is 0.300"
    )


def test_without_slices_there_is_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        verdict.finish(validation([pair(PHOTO, 0.9)]), tmp_path / "out", overwrite=False, as_json=False)
    assert "slices:" not in capsys.readouterr().err
