"""Several methods in one run, and several runs into one folder: nothing is replaced in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from tests.command import Ran

ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, PICTURE, OTHER = (ASSETS / name for name in ("shapes.onnx", "shapes_1.png", "shapes_2.png"))


def listed() -> list[str]:
    """The starts of the files of the manifest's entries, which are there."""
    entries = json.loads(Path("out/manifest.json").read_text("utf-8"))
    assert all(Path(entry["raw"]).is_file() for entry in entries)
    return [Path(entry["raw"]).name.removesuffix("-raw.npy") for entry in entries]


def test_each_method_explains_each_image(onnxcam: Callable[..., Ran]) -> None:
    methods = ("-m", "gradcam", "-m", "hirescam")
    ran = onnxcam("explain", SHAPES, PICTURE, OTHER, "-t", 5, *methods, "--maps", "raw", "-o", "out")
    assert ran.code == 0, ran.err
    assert listed() == [f"shapes_{n}-5-{method}" for n in (1, 2) for method in ("gradcam", "hirescam")]
    ran = onnxcam("explain", SHAPES, PICTURE, "-m", "gradcam", "-m", "gradcam", "-o", "out")
    assert (ran.code, "--method names the same method twice" in ran.err) == (2, True)


def test_a_second_run_into_a_folder_adds(onnxcam: Callable[..., Ran]) -> None:
    run = ("explain", SHAPES, PICTURE, "-t", 5, "--maps", "raw", "-o", "out")
    for words in ((), ("-m", "hirescam"), ("-m", "hirescam", "-l", "layer3"), ("-m", "hirescam")):
        ran = onnxcam(*run, *words)
        assert ran.code == 0, ran.err
    assert listed() == ["shapes_1-5-gradcam", "shapes_1-5-hirescam-layer3.2", "shapes_1-5-hirescam"]
