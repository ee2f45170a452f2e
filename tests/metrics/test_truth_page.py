"""docs/truth-formats.md: each example is read as the page says, and the commands and the Python run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from onnxcam.metrics import Truth
from onnxcam.metrics.truth import FORMATS
from tests.docs_pages import DOCS, Run

pytest.importorskip("matplotlib")
ASSETS = DOCS.parent / "onnxcam" / "assets"
FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WHERE = {"yolo": "data.yaml", "voc": ".", "labelme": "."}


def page() -> str:
    path = DOCS / "truth-formats.md"
    if not path.is_file():
        pytest.skip("the docs are not beside the tests")
    return path.read_text("utf-8")


def examples() -> dict[str, dict[str, str]]:
    """The files of each format, by the heading of its section."""
    titles = {"COCO": "coco", "Pascal VOC": "voc", "YOLO": "yolo", "CSV": "csv", "Labelme": "labelme", "CVAT": "cvat",
              "Boxes": "boxes"}  # fmt: skip
    sections = dict(part.split("\n", 1) for part in page().split("\n## ")[1:])
    return {format: dict(FILE.findall(sections[title])) for title, format in titles.items()}


@pytest.mark.parametrize("format", ["coco", "voc", "yolo", "csv", "labelme", "cvat", "boxes"])
def test_each_example(format: str, tmp_path: Path) -> None:
    if format == "yolo":
        pytest.importorskip("yaml", reason="the extra onnxcam[truth] is not installed")
    files = examples()[format]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    truth = Truth(tmp_path / WHERE.get(format, next(iter(files))))
    assert truth.format == format
    (star,) = truth.annotation("images/val/cat.png", (288, 288)).objects
    assert star.label == "star"
    assert star.box == pytest.approx((30, 33, 118, 125), abs=1e-3)


def test_the_page_names_every_format() -> None:
    assert all(f"`{format}`" in page() for format in FORMATS)


def test_commands_and_python(onnxcam: Run, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ASSETS / "shapes.onnx", "model.onnx")
    shutil.copy(ASSETS / "shapes_1.png", "cat.png")
    for files in (examples()["coco"], examples()["csv"]):
        for name, text in files.items():
            Path(name).write_text(text, encoding="utf-8")
    for words in re.findall(r"^onnxcam (.*)$", page(), re.MULTILINE):
        assert onnxcam(*words.split(), "--overwrite").code == 0
    first, second = re.findall(r"^```python\n(.*?)^```$", page(), re.MULTILINE | re.DOTALL)
    scope: dict[str, object] = {}
    exec(first, scope)
    assert capsys.readouterr().out.splitlines()[-2:] == ["star (30.0, 33.0, 118.0, 125.0) 8096 False", "1.0"]
    pytest.importorskip("pycocotools", reason="the extra onnxcam[truth] is not installed")
    exec(second, scope)
    assert float(capsys.readouterr().out.split()[0]) == pytest.approx(0.9)
