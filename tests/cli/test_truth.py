"""``--truth``: what is no truth of these images ends the command with one line and code 2."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from tests.docs_pages import Run

pytest.importorskip("matplotlib")
ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, PICTURE = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png"
VOC = "<annotation><object><name>{}</name><bndbox>{}</bndbox></object></annotation>"
BOX = "<xmin>{}</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax>"

CASES = [
    ("a.json", '{"images": [', "is no JSON: it breaks off or is damaged in line 1"),
    ("a.json", json.dumps({"images": [], "annotations": [], "categories": []}), "no entry for shapes_1.png"),
    ("a.json", "[1]", "is of no known format; those are COCO JSON, Labelme JSON"),
    ("a.zip", "PK", "is of no known format"),
    ("shapes_1.xml", VOC.format("star", BOX.format(500)), "is empty: x2 must be above x1"),
    ("shapes_1.xml", VOC.format("zebra", BOX.format(5)), "no class is named 'zebra'"),
    ("shapes_1.xml", VOC.format("star", BOX.format("9" * 400)), "xmin is '999"),
    ("shapes_1.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", "XML with a document type or entities is not read"),
    ("shapes_1.xml", "<annotation/>", "none of the 1 images can be measured; the first: "),
    ("a.csv", "image,label\nshapes_1.png,star,3\n", "line 2: 3 cells, and the header has 2"),
    ("a.csv", "image,class,x1,y1,x2,y2\nshapes_1.png,star,0,0,999,9\n", "reaches out of the image of 288 × 288 pixels"),
]


@pytest.mark.parametrize(("name", "text", "message"), CASES)
def test_one_line_and_code_2(name: str, text: str, message: str, onnxcam: Run) -> None:
    Path(name).write_text(text, encoding="utf-8")
    ran = onnxcam("evaluate", SHAPES, PICTURE, "--truth", name, "--metric", "sparseness")
    assert ran.code == 2
    assert message in " ".join(ran.err.split())
    assert ran.err.count("\n") == 1
    assert ran.out == ""
    assert not Path("onnxcam-evaluation").exists()


def test_the_format_can_be_named(onnxcam: Run) -> None:
    Path("truth.txt").write_text("image,label\nshapes_1.png,star\n", encoding="utf-8")
    arguments = ("evaluate", SHAPES, PICTURE, "--metric", "sparseness", "--json", "--truth")
    assert onnxcam(*arguments, "truth.txt").code == 2
    ran = onnxcam(*arguments, "csv:truth.txt")
    assert ran.code == 0
    assert json.loads(ran.out)["truth"] == {"path": "truth.txt", "format": "csv", "values": "object"}
    assert "truth.txt: image from 'image', label from 'label'" in " ".join(ran.err.split())
