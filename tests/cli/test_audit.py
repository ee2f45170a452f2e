"""``onnxcam audit``: the batch that ``onnxcam batch`` wrote, to a report; bad input ends with one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxcam.batching.batch import batch
from tests.batching.pictures import SHAPES, folder


def test_a_batch_is_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from onnxcam.cli import app

    monkeypatch.chdir(tmp_path)
    folder(Path("photos"), 6, broken=(2,))
    batch(SHAPES, "photos", "results")
    app(["audit", "results", "-o", "audit", "--json"], standalone_mode=False)
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["rows"], found["errors"], found["findings"]) == (5, 1, [])
    assert "note: 1 rows are errors and are left out" in err
    page = Path("audit/report.html").read_text("utf-8")
    assert "Too little to look at in 5 rows" in page
    assert "done: no test in 5 rows: missing are " in err
    assert json.loads(Path("audit/findings.json").read_text("utf-8")) == found
