"""Figures and sheets of explanations."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import onnxcam
from onnxcam import Explainer
from onnxcam.errors import OutputError
from onnxcam.explainer.grid import explain_grid
from onnxcam.media import figure, heatmap, image
from tests.batching.pictures import ASSETS, SHAPES

PICTURES = [str(ASSETS / "shapes_1.png"), str(ASSETS / "shapes_2.png")]


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(SHAPES)


@pytest.fixture(scope="module")
def best(explainer: Explainer) -> list[onnxcam.Explanation]:
    return explainer.best(PICTURES[0], 2)


def test_the_text_of_a_sheet_is_text(best: list[onnxcam.Explanation], tmp_path: Path) -> None:
    odd = replace(best[0], label="$x_1$ & <b> 图")  # no mathematics, no markup, and a glyph that the font lacks
    sheet = onnxcam.sheet([best, [odd, None]], rows=["one", "two"], columns=["first", "second"], title="Both")
    paths = [sheet.save(tmp_path / f"sheet.{kind}") for kind in figure.KINDS]
    svg = paths[2].read_text("utf-8")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"one", "two", "first", "second", "Both", "share of the largest value in a picture"} <= set(texts)
    assert any(text.startswith("$x_1$ &amp; &lt;b&gt; 图") for text in texts)
    assert svg.count("<image") == 4  # three overlays and the colour bar
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert image.read(paths[0]).shape == sheet.image.shape
    assert [path.read_bytes() for path in paths] == [
        sheet.save(tmp_path / f"again.{kind}").read_bytes() for kind in figure.KINDS
    ]
    assert all(sheet.save(path, overwrite=False) for path in paths)  # its own files


def test_maps_of_an_image_share_a_scale(best: list[onnxcam.Explanation]) -> None:
    strong, weak = sorted(best, key=lambda one: -one.peak)
    assert weak.peak < strong.peak
    np.testing.assert_allclose(weak.raw.max() / weak.peak, 1)
    drawn = {scale: onnxcam.sheet([strong, weak], scale=scale).grid.rows[0] for scale in ("image", "all", "own")}
    for scale, (first, second) in drawn.items():
        np.testing.assert_array_equal(first.image, strong.overlay())
        factor = np.float32(1 if scale == "own" else weak.peak / strong.peak)
        np.testing.assert_array_equal(second.image, heatmap.overlay(weak.image, weak.map * factor))


def test_a_row_that_is_too_long_is_broken(best: list[onnxcam.Explanation]) -> None:
    rows = onnxcam.sheet([*best, best[0]], columns=["a", "b", "c"], original=True, wrap=3).grid.rows
    assert [[panel.title.partition("\n")[0] for panel in row] for row in rows] == [["", "a"], ["b", "c"]]
    assert len(onnxcam.sheet([*best, best[0]]).grid.rows) == 1


def test_a_box_of_all_that_is_seen_is_not_drawn(best: list[onnxcam.Explanation]) -> None:
    everywhere = replace(best[0], map=np.ones_like(best[0].map))
    assert everywhere.box() == (0, 0, *everywhere.map.shape[::-1])
    np.testing.assert_array_equal(everywhere.overlay(boxes=True), everywhere.overlay())
    assert (best[0].overlay(boxes=True) != best[0].overlay()).any()


def test_a_figure_has_the_image_beside_and_a_bar(best: list[onnxcam.Explanation], tmp_path: Path) -> None:
    one = best[0]
    full, bare = one.figure(), one.figure(colorbar=False, title="", original=False)
    assert [len(found.grid.rows[0]) for found in (full, bare)] == [2, 1]
    assert (len(full.grid.bars), len(bare.grid.bars)) == (1, 0)
    assert full.grid.title == f"{one.label} {100 * (one.probability or 0):.0f} % · gradcam"
    paths = one.save(tmp_path, colorbar=True, title="auto", beside=True)
    assert image.read(paths["overlay"]).shape[1] > 2 * one.image.shape[1]


def test_a_grid_has_images_in_rows_and_methods_in_columns(explainer: Explainer) -> None:
    both = [explainer, explainer.replace(method="gradient")]
    grid = explain_grid(both, PICTURES, [None])
    sheet = grid.sheet(original=True)
    assert [len(row) for row in sheet.grid.rows] == [3, 3]
    assert sheet.grid.column_titles == ["", "gradcam", "gradient"]
    assert sheet.grid.row_titles == ["shapes_1", "shapes_2"]
    assert [bar.colormap for bar in sheet.grid.bars] == ["inferno", "blues"]
    assert [entry["method"] for entry in grid.entries] == ["gradcam", "gradient"] * 2
    lines = explain_grid(both, PICTURES[:1], ["top=2"]).sheet()
    assert [[panel.title.split()[0] for panel in row] for row in lines.grid.rows] == [
        [str(one.label)] * 2 for one in explainer.best(PICTURES[0], 2)
    ]


def test_what_cannot_be_drawn_is_one_line(best: list[onnxcam.Explanation], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"there is nothing to draw on the sheet"):
        onnxcam.sheet([[None]])
    with pytest.raises(OutputError, match=r"401 pictures are too many for a sheet; give 400 at most"):
        onnxcam.sheet([best[0]] * 401)
    with pytest.raises(OutputError, match=r"1 titles for 2 columns; give one each, or none"):
        onnxcam.sheet(best, columns=["one"])
    with pytest.raises(OutputError, match=r"no scale is called 'al'; there are image, all, own\. Did you mean 'all'"):
        onnxcam.sheet(best, scale="al")  # type: ignore[arg-type]
    with pytest.raises(OutputError, match=r"sheet\.gif: ends in \.gif; a sheet is \.png, \.pdf or \.svg"):
        onnxcam.sheet(best).save(tmp_path / "sheet.gif")


def test_without_matplotlib_the_error_says_what_to_install(
    best: list[onnxcam.Explanation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(OutputError, match=r"matplotlib, which is not installed; pip install 'onnxcam\[figures\]'"):
        best[0].figure().save("nowhere.png")
