"""``onnxcam compare-methods``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.batching.pictures import ASSETS
from tests.cli.test_cli import SHAPES, Run

PICTURES = (ASSETS / "shapes_1.png", ASSETS / "shapes_2.png")


def test_the_table_says_time_agreement_and_what_is_assumed(onnxcam: Run) -> None:
    words = ("compare-methods", SHAPES, *PICTURES, "-m", "gradcam", "-m", "hirescam", "-m", "legrad", "-m", "gradient")
    ran = onnxcam(*words, "--json", "--sheet", "sheet.svg")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    rows = {row["method"]: row for row in found["methods"]}
    assert list(rows) == ["gradcam", "hirescam", "legrad", "gradient"]
    assert "legrad does not apply: legrad needs a transformer" in ran.err
    assert rows["legrad"]["seconds"] is None
    assert all(rows[name]["seconds"] > 0 for name in found["agreement"])
    matrix = np.array([list(line.values()) for line in found["agreement"].values()])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    np.testing.assert_allclose(np.diag(matrix), 1)
    assert rows["gradcam"]["nearest"] == "hirescam"
    np.testing.assert_allclose(rows["gradcam"]["agreement"], matrix[0, 1:].mean())
    assert rows["gradcam"]["assumes"] == "gradients, a layer with places, one weight for each channel"
    drawn = Path("sheet.svg").read_text("utf-8")
    assert [f">{name}</text>" in drawn for name in rows] == [True, True, False, True]


def test_what_cannot_be_compared_is_one_line(onnxcam: Run) -> None:
    for words, says in (
        (("-m", "gradcan"), "Did you mean 'gradcam'"),
        (("-m", "legrad", "-m", "chefer"), "none of the methods applies; the first: legrad needs a transformer"),
        (("--sheet", "sheet.txt"), "a sheet is .png, .pdf or .svg"),
    ):
        ran = onnxcam("compare-methods", SHAPES, PICTURES[0], *words)
        assert (ran.code, ran.out) == (2, "")
        assert says in ran.err
        assert len(ran.err.strip().splitlines()) == 1
