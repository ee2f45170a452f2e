"""docs/coming-from.md is true: its Python runs as written, and its tables name what there is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import onnx
import pytest

from onnxcam.compat import pytorch_grad_cam
from onnxcam.compat.captum import attr
from onnxcam.compat.torchcam import methods
from onnxcam.methods import METHODS
from tests.command import Ran
from tests.docs_pages import DOCS, PICTURE, follow

SHAPES = Path(str(resources.files("onnxcam") / "assets" / "shapes.onnx"))


def test_the_page(onnxcam: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PICTURE, "img.jpg")
    model = onnx.load(SHAPES)
    last = [node for node in model.graph.node if node.op_type == "Relu"][-1]
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["features" if name == last.output[0] else name for name in names]
    onnx.save(model, "model.onnx")
    follow("coming-from.md", onnxcam)
    assert {folder.name for folder in Path("xai").iterdir()} == {"circle", "square"}


def test_the_page_names_every_class_and_only_methods_that_there_are() -> None:
    text = (DOCS / "coming-from.md").read_text("utf-8")
    words = set(re.findall(r"[\w+-]+", text))
    for module in (pytorch_grad_cam, methods, attr):
        assert set(module.NAMES) <= words
    named = re.findall(r'method="([^"]+)"|--method (\w[\w-]*)', text)
    assert {one or other for one, other in named} <= {*METHODS, "riemann_middle"}
