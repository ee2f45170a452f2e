"""``onnxcam explain --sheet``, and figures in place of overlays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from onnxcam.media import image
from tests.cli.test_cli import PICTURE, SHAPES, Run


def test_a_sheet_in_place_of_the_folder(onnxcam: Run) -> None:
    shutil.copy(PICTURE, "two.png")
    Path("broken.png").write_bytes(b"no picture")
    words = ("explain", SHAPES, PICTURE, "two.png", "broken.png", "-m", "gradcam", "-m", "lrp", "--beside")
    ran = onnxcam(*words, "--sheet", "sheet.svg", "--title", "auto", "--json")
    assert ran.code == 0, ran.err
    assert [entry["method"] for entry in json.loads(ran.out)] == ["gradcam", "lrp"] * 2
    assert "left out: broken.png" in ran.err
    assert ">lrp</text>" in Path("sheet.svg").read_text("utf-8")
    assert not Path("onnxcam-out").exists()
    assert onnxcam("explain", SHAPES, PICTURE, "--sheet", "sheet.svg").out.strip() == "sheet.svg"  # its own file


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-m", "gradcam", "-m", "gradcam"), "--method names the same method twice"),
        (("-l", "auto", "-l", "auto"), "--layer names the same layer twice"),
        (("--sheet", "sheet.jpg"), "sheet.jpg: ends in .jpg; a sheet is .png, .pdf or .svg"),
        (("--sheet", "sheet"), "sheet: has no suffix; a sheet is .png, .pdf or .svg"),
        (("--sheet", "mine.png"), "'mine.png' exists and was not written by onnxcam"),
        (("--sheet", "no/sheet.png"), "no/sheet.png"),
        (("--sheet", "sheet.png", "--scale", "shared"), "no scale is called 'shared'; there are image, all, own."),
    ],
)
def test_bad_input_is_one_line(onnxcam: Run, words: tuple[str, ...], says: str) -> None:
    Path("mine.png").write_bytes(Path(PICTURE).read_bytes())
    ran = onnxcam("explain", SHAPES, PICTURE, *words)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert Path("mine.png").read_bytes() == Path(PICTURE).read_bytes()


def test_an_overlay_with_its_text(onnxcam: Run) -> None:
    words = ("--colorbar", "--title", "A ring", "--beside", "--colormap", "viridis", "--opacity", "0.6")
    ran = onnxcam("explain", SHAPES, PICTURE, "-o", "out", *words)
    assert ran.code == 0, ran.err
    (path,) = Path("out").glob("*-overlay.jpg")
    assert image.read(path).shape[1] > 2 * image.read(PICTURE).shape[1]
