"""A run over several images: one that cannot be explained is reported, named and in the manifest; the run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import files
from onnxcam.cli import show
from onnxcam.media import image
from tests.cli.test_cli import PICTURE, SHAPES, Run

DETECTOR = """
<ir_version: 8, opset_import: ["" : 17]>
cells (float[1, 3, 16, 16] x) => (float[1, 4, 1] scores, float[1, 4, 4] boxes)
<float[1, 3, 8, 8] w, float[4, 4] places = {0, 0, 0.5, 0.5, 0.5, 0, 1, 0.5, 0, 0.5, 0.5, 1, 0.5, 0.5, 1, 1},
 float[1] b = {-10}, int64[3] to = {1, 4, 1}, float scale = {20}> {
    c = Conv<strides = [8, 8]>(x, w)
    r = Relu(c)
    s = Mul(r, scale)
    l = Add(s, b)
    p = Sigmoid(l)
    scores = Reshape(p, to)
    same = Mul(scores, places)
    none = Sub(same, same)
    boxes = Add(none, places)
}
"""
"""A cell of 8 × 8 pixels that is bright enough is an object."""


@pytest.fixture
def detector() -> Path:
    model = onnx.parser.parse_model(DETECTOR.replace("float[1, 3, 8, 8] w", f"float[1, 3, 8, 8] w = {{{WEIGHTS}}}"))
    onnx.save(model, "net.onnx")
    dark, bright = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
    bright[8:, 8:] = 255
    Path("photos").mkdir()
    for name, picture in (("a", bright), ("b", dark), ("c", bright)):
        image.write(f"photos/{name}.png", picture)
    return Path("net.onnx")


WEIGHTS = ", ".join(["0.0052"] * 192)


def test_an_image_without_a_detection_does_not_end_the_run(onnxcam: Run, detector: Path) -> None:
    ran = onnxcam("explain", detector, "photos", "-p", "unit", "-m", "layercam", "-o", "out", "--json")
    assert ran.code == 0, ran.err
    assert "left out: photos/b.png: there is no detection 0" in ran.err
    assert "left out: 1 of 3 pictures" in ran.err
    entries = json.loads(Path("out/manifest.json").read_text("utf-8"))
    assert entries == json.loads(ran.out)
    assert [Path(entry["image"]).name for entry in entries] == ["a.png", "b.png", "c.png"]
    assert entries[1].keys() == {"image", "error"}
    assert "there is no detection 0" in entries[1]["error"]


def test_strict_ends_it_at_the_first(onnxcam: Run, detector: Path) -> None:
    ran = onnxcam("explain", detector, "photos", "-p", "unit", "-m", "layercam", "-o", "out", "--strict")
    assert ran.code == 2
    assert ran.err.startswith("error: photos/b.png: there is no detection 0")
    assert ran.err.endswith("; 1 of 3 images are done and kept in 'out': repeat the command to resume\n")
    assert ran.err.count("\n") == 1
    assert sorted(path.name for path in Path("out").iterdir() if path.suffix != ".npy") == [
        "a-box-9-9-44-44-class-0-layercam-overlay.jpg",
        "journal.jsonl",
    ]


def test_one_image_alone_keeps_its_error(onnxcam: Run, detector: Path) -> None:
    ran = onnxcam("explain", detector, "photos/b.png", "-p", "unit", "-m", "layercam", "-o", "out")
    assert ran.code == 2
    assert ran.err.startswith("error: there is no detection 0")
    assert not Path("out").exists()


def test_a_broken_file_does_not_end_the_run(onnxcam: Run) -> None:
    Path("broken.png").write_bytes(b"no picture")
    ran = onnxcam("explain", SHAPES, "broken.png", PICTURE, "missing.png", "-o", "out")
    assert ran.code == 2  # a name that is no file is a typing error: nothing is read
    ran = onnxcam("explain", SHAPES, "broken.png", PICTURE, "-o", "out")
    assert ran.code == 0, ran.err
    assert len(ran.out.splitlines()) == 2
    assert ran.err.count("broken.png") == 1
    assert [
        set(entry) == {"image", "error"} for entry in json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))
    ] == [
        True,
        False,
    ]
    assert files.is_ours(Path("out/manifest.json"))


def test_if_all_fail_the_first_error_ends_the_run(onnxcam: Run) -> None:
    for name in "ab":
        Path(f"{name}.png").write_bytes(b"no picture")
    ran = onnxcam("explain", SHAPES, "a.png", "b.png", "-o", "out")
    assert ran.code == 2
    assert ran.err.startswith("error: no image of 2 was explained; the first: ")
    assert "a.png" in ran.err
    assert not Path("out").exists()


def test_a_class_that_does_not_exist_ends_the_run_before_the_first_image(onnxcam: Run) -> None:
    Path("a.png").write_bytes(b"no picture")
    ran = onnxcam("explain", SHAPES, "a.png", PICTURE, "-t", "no such class", "-o", "out")
    assert ran.code == 2
    assert "no such class" in ran.err
    assert "a.png" not in ran.err


def test_a_second_run_replaces_a_manifest_with_failures(onnxcam: Run) -> None:
    Path("broken.png").write_bytes(b"no picture")
    for _ in range(2):
        assert onnxcam("explain", SHAPES, "broken.png", PICTURE, "-o", "out").code == 0


def test_a_warning_about_some_images_names_one() -> None:
    entries = [{"image": f"{name}.png", "warnings": ["all", *own], "note": ""} for name, own in _OWN.items()]
    assert [show._of_some(warning, entries) for warning in ("all", "one", "two")] == [
        "",
        " (b.png)",
        " (a.png and 1 more of 3 images)",
    ]


_OWN = {"a": ["two"], "b": ["one"], "c": ["two"]}
