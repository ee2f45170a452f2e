"""What every command has in common at a terminal: summaries, tables, refused options, folders of earlier runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from rich.console import Console

from onnxcam import progress
from onnxcam.cli import tables
from onnxcam.text import in_message, plain
from tests.command import Ran

Run = Callable[..., Ran]
ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, PICTURE = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png"


@pytest.mark.parametrize("width", [80, 60, 30])
def test_a_path_is_never_broken(width: int) -> None:
    console = Console(width=width, record=True, force_terminal=True, color_system=None)
    path, text = "out/a-folder-with-a-long-name/and-a-file-with-one-overlay.jpg", "a text of many words " * 4
    tables.print_table(
        ("image", "# score", "why", "overlay"),
        [("cat.jpg", "0.5", text, path), ("dog.jpg", "0.5", text, f"{path}s")],
        console,
    )
    lines = console.export_text().splitlines()
    assert sum(path in line for line in lines) == 2
    assert sum("cat.jpg" in line for line in lines) == sum("dog.jpg" in line for line in lines) == 1
    assert all(len(line) <= width for line in lines if path not in line)
    assert " ".join(" ".join(lines).split()).count("many") == 8  # the text folds between words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("explain", "-m", "rise", "--set", "samples=5", "--set", "samples=7"),
         "--set gives 'samples' two values, '5' and '7'; give one"),
        (("explain", "-l", "layer5", "-l", "layer5.2"), "layer5 and --layer layer5.2 are the same layer, features"),
        (("bake", "-o", "b.onnx", "-m", "gradcam", "--method=layercam"),
         "--method takes one value, and is given gradcam and layercam; give one"),
        (("explain", "--sheet", "none/x.png"), "'none/x.png': No such file or directory; choose another with --sheet"),
        (("explain", "--labels", "s3://bucket/l.txt"), "s3://bucket/l.txt: is an address, and this command reads"),
        (("explain", "--sheet", "s3://bucket/x.png"), "'s3://bucket/x.png' is an address, and this command writes to"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(onnxcam: Run, words: tuple[str, ...], message: str) -> None:
    if "--sheet" in words:
        pytest.importorskip("matplotlib")
    ran = onnxcam(words[0], SHAPES, *([PICTURE] if words[0] == "explain" else []), *words[1:])
    assert ran.code == 2
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not list(Path().iterdir())


def test_a_command_without_words(onnxcam: Run) -> None:
    assert onnxcam("models").out.startswith("model\tMB\t")


def test_addresses_keep_their_slashes() -> None:
    assert in_message(Path("s3://bucket/a")) == "s3://bucket/a"
    assert (
        plain(f"error: '{Path('https://host/m.onnx')}' and C:/a, a:/b") == "error: 'https://host/m.onnx' and C:/a, a:/b"
    )


def test_another_model_adds_to_the_folder(onnxcam: Run) -> None:
    model = onnx.load(SHAPES)
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(1.1 * numpy_helper.to_array(weight), weight.name))
    onnx.save(model, "other.onnx")
    raws = []
    for words in ((SHAPES,), ("other.onnx",), (SHAPES,), (SHAPES, "--smooth", "eigen")):
        ran = onnxcam("explain", words[0], PICTURE, *words[1:], "--maps", "raw", "-o", "out", "--json")
        raws.append(Path(json.loads(ran.out)[0]["raw"]).name)
    start = "shapes_1"
    assert raws == [f"{start}-0-gradcam-raw.npy", f"{start}-2-0-gradcam-raw.npy", f"{start}-0-gradcam-raw.npy",
                    f"{start}-0-gradcam-smooth-eigen-raw.npy"]  # fmt: skip
    manifest = json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))
    assert sorted(Path(entry["raw"]).name for entry in manifest) == sorted(set(raws))
    assert {entry["model"] for entry in manifest} == {str(SHAPES), "other.onnx"}
    assert [entry["settings"] for entry in manifest if "smooth" in entry["raw"]] == [{"smooth": "eigen"}]


@pytest.mark.parametrize(
    ("command", "more"),
    [("validate", (SHAPES,)), ("evaluate", ("--metric", "sparseness")), ("record", ())],
)
def test_a_broken_video_is_left_out_like_a_broken_image(onnxcam: Run, command: str, more: tuple[object, ...]) -> None:
    pytest.importorskip("scipy")
    Path("clip.mp4").write_bytes(b"no video" * 99)
    Path("bad.png").write_bytes(b"no image")
    between = more if command == "validate" else ()
    words = (command, SHAPES, *between, "clip.mp4", "bad.png", PICTURE, "-o", "out", *(more if not between else ()))
    ran = onnxcam(*words)
    assert ran.code == 0, ran.err
    lines = ran.err.splitlines()
    assert (
        "warning: left out: clip.mp4: is no video that OpenCV reads, or is cut off; copy it again, or save it as .mp4"
        in lines
    )
    assert (
        "warning: left out: bad.png: is not an image that OpenCV reads, or is damaged; save it as PNG or JPEG again"
        in lines
    )
    assert "done: 1 of 3 images, 2 left out, by gradcam, in out/" in lines
    assert any(line.startswith("next: ") for line in lines)
    shutil.rmtree("out")
    refused = onnxcam(*(word for word in words if word != PICTURE))
    assert refused.code == 2
    assert not Path("out").exists()  # bad input leaves nothing behind


def test_results_in_words() -> None:
    assert progress.values_in_words({"iou": 0.5, "kl": 1.0}, 1) == "iou 0.500"
