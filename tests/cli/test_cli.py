"""The commands, as a user runs them: what they print, what they write, and their exit codes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxcam import __version__
from onnxcam.media import image
from onnxcam.methods import METHODS
from onnxcam.methods.base import INDEPENDENT, MethodsWith
from tests.command import Ran
from tests.networks import HAND_X, hand_model
from tests.optional import libraries_of

Run = Callable[..., Ran]
ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, PICTURE = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png"
ENTRY = {
    "image": str,
    "target": dict,
    "score": float,
    "probability": float,
    "probability_against": type(None),
    "method": str,
    "settings": dict,
    "layer": str,
    "model": str,
    "run": str,
    "map": str,
    "raw": str,
    "overlay": str,
    "box": list,
    "box_is_all_seen": bool,
    "boxes": list,
    "note": str,
    "parts": type(None),
    "words": str,
    "detection": type(None),
    "warnings": list,
    "reading": dict,
}


def test_demo(onnxcam: Run) -> None:
    ran = onnxcam("demo")
    assert ran.code == 0, ran.err
    header, *rows = [line.split("\t") for line in ran.out.splitlines()]
    assert header[:2] == ["image", "class"]
    assert len(rows) == 4
    assert [row[3] for row in rows] == ["on the object"] * 4
    assert all(float(row[2].rstrip("%")) > 90 for row in rows)
    for picture in {row[0] for row in rows}:
        assert len({row[1] for row in rows if row[0] == picture}) == 2  # two classes in one image
    assert all(Path(row[4]).is_file() for row in rows)


def test_explain_writes_and_says_the_same_thing_thrice(onnxcam: Run) -> None:
    ran = onnxcam("explain", SHAPES, PICTURE, "--top", 2, "--maps", "all", "--json", "-o", "out")
    assert ran.code == 0, ran.err
    entries = json.loads(ran.out)
    assert entries == json.loads(Path("out/manifest.json").read_text("utf-8"))
    assert len(entries) == 2
    for entry in entries:
        assert {key: type(value) for key, value in entry.items()} == ENTRY
        heat, raw = np.load(entry["map"]), np.load(entry["raw"])
        picture = image.read(PICTURE)
        assert heat.shape == picture.shape[:2]
        assert heat.dtype == raw.dtype == np.float32
        assert heat.min() >= 0
        assert heat.max() == 1
        assert image.read(entry["overlay"]).shape == picture.shape
    assert entries[0]["score"] >= entries[1]["score"]


def test_explain_by_label_and_index_agree(onnxcam: Run) -> None:
    labels = json.loads({p.key: p.value for p in onnx.load(SHAPES).metadata_props}["onnxcam"])["labels"]
    by_label, by_index = (
        json.loads(onnxcam("explain", SHAPES, PICTURE, "-t", word, "--json").out)[0] for word in (labels[3], "3")
    )
    assert by_label == by_index
    assert by_label["target"] == {"index": 3, "label": labels[3]}


def test_several_targets_and_pictures_of_one_name(onnxcam: Run, tmp_path: Path) -> None:
    other = tmp_path / "other" / PICTURE.name
    other.parent.mkdir()
    image.write(other, image.read(PICTURE)[:, ::-1])
    ran = onnxcam("explain", SHAPES, PICTURE, other, "-t", 0, "-t", 1, "--json", "-o", "out")
    entries = json.loads(ran.out)
    assert len(entries) == 4
    assert len({entry["raw"] for entry in entries}) == 4
    assert all(Path(entry["raw"]).is_file() for entry in entries)


def test_a_folder_a_pattern_and_a_list_name_pictures(onnxcam: Run, tmp_path: Path) -> None:
    inside = tmp_path / "photos" / "inside"
    inside.mkdir(parents=True)
    for name in ("a.png", "b.PNG"):
        (inside / name).write_bytes(PICTURE.read_bytes())
    (inside / "notes.md").write_text("no image")
    (tmp_path / "list.txt").write_text("photos/inside/b.PNG\n\nphotos/inside/a.png\n")
    for source, expected in (
        (tmp_path / "photos", ["a.png", "b.PNG"]),
        ("photos/**/*.png", ["a.png"]),
        (tmp_path / "list.txt", ["b.PNG", "a.png"]),
        (f"@{tmp_path}/list.txt", ["b.PNG", "a.png"]),
    ):
        ran = onnxcam("explain", SHAPES, source, "-t", 0, "--json")
        assert ran.code == 0, ran.err
        assert [Path(entry["image"]).name for entry in json.loads(ran.out)] == expected


NO_FILE = (
    "error: bare: the folder has no image, signal or volume; there is no file in it that ends with .png, .jpg, .wav, "
    ".csv, .npy or .nii.gz, and no DICOM slice"
)


@pytest.mark.parametrize("command", ["explain", "evaluate"])
def test_no_picture_is_one_line_and_leaves_nothing(onnxcam: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bare").mkdir()
    for source, why in (
        ("empty.txt", "error: no image is named; give files, a folder, a pattern or a list that names some"),
        ("bare", NO_FILE),
        ("gone/*.png", "error: gone/*.png: no file is called like this; check the name"),
    ):
        ran = onnxcam(command, SHAPES, source, "-o", "out")
        assert (ran.code != 0, ran.out, ran.err.strip()) == (True, "", why)
        assert not Path("out").exists()


OF_OTHERS = {each.id for each in METHODS.values() if each.needs_attention or each.needs_detections or each.needs_words}


SHORT = {
    "sobol": "designs=4",
    "kernelshap": "samples=200",
    "lime": "samples=200",
    "rise": "samples=40",
    "guided-ig": "steps=10",
    "sscam": "samples=2",
    "iscam": "samples=2",
    "expected-gradients": "samples=8",
}
"""Settings of methods that take long by their own."""


@pytest.mark.parametrize("method", [method for method in METHODS if method not in OF_OTHERS])
def test_every_method_by_its_id(onnxcam: Run, method: str) -> None:
    libraries_of(method)
    settings = ("--set", SHORT[method]) if method in SHORT else ()
    ran = onnxcam("explain", SHAPES, PICTURE, "-m", method, *settings, "--json")
    assert ran.code == 0, ran.err
    (entry,) = json.loads(ran.out)
    assert entry["method"] == method
    assert (entry["layer"] is not None) == METHODS[method].uses_layer


def test_settings_of_a_method(onnxcam: Run) -> None:
    ran = onnxcam("explain", SHAPES, PICTURE, "-m", "smoothgrad", "--set", "samples=2", "--set", "seed=5", "--json")
    assert ran.code == 0, ran.err
    assert [line.split(":")[0] for line in ran.err.splitlines()] == ["done", "next"]  # no progress bar when piped
    ran = onnxcam("explain", SHAPES, PICTURE, "-m", "smoothgrad", "--set", "sample=2")
    assert ran.code == 2
    assert "no setting 'sample'" in ran.err
    ran = onnxcam("explain", SHAPES, PICTURE, "-m", "smoothgrad", "--set", "samples")
    assert ran.code == 2
    assert "--set takes name=value" in ran.err


def test_smooth(onnxcam: Run) -> None:
    maps = []
    for how in ("none", "aug", "eigen", "aug+eigen"):
        ran = onnxcam("explain", SHAPES, PICTURE, "--smooth", how, "--json")
        assert ran.code == 0, ran.err
        maps.append(np.load(json.loads(ran.out)[0]["raw"]))
    assert len({one.tobytes() for one in maps}) == 4
    ran = onnxcam("explain", SHAPES, PICTURE, "--smooth", "median")
    assert ran.code == 2
    assert "the setting smooth of gradcam is none, aug, eigen or aug+eigen, not 'median'" in ran.err


def test_quiet_when_piped(onnxcam: Run) -> None:
    ran = onnxcam("explain", SHAPES, PICTURE, PICTURE)
    assert [line.split(":")[0] for line in ran.err.splitlines()] == ["done", "next"]
    assert ran.out.count("\n") == 3
    assert ran.out.startswith("image\ttarget\tscore\tprobability\tmap's box\toverlay\n")
    assert "\x1b" not in ran.out
    assert ran.out.split("\t")[-1].strip().endswith("overlay.jpg")


def test_a_guess_is_announced(onnxcam: Run, tmp_path: Path) -> None:
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    ran = onnxcam("explain", "hand.onnx", PICTURE, "--json")
    assert "guess" in ran.err
    assert "--preprocess" in ran.err
    assert "guess" in " ".join(json.loads(ran.out)[0]["warnings"])


def test_a_blank_map_is_announced(onnxcam: Run, tmp_path: Path) -> None:
    """White through the second channel's weight -1 is zero there: class 1, which has only that channel, has nothing."""
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    image.write("white.png", np.full((2, 2, 3), 255, np.uint8))
    ran = onnxcam("explain", "hand.onnx", "white.png", "-t", 1, "-p", "unit", "--json")
    assert ran.code == 0, ran.err
    assert "the map is blank" in ran.err
    assert "try another class or layer" in json.loads(ran.out)[0]["warnings"][0]


def test_a_box_of_all_that_is_seen_is_said_in_words(onnxcam: Run, tmp_path: Path) -> None:
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    image.write("white.png", np.full((2, 2, 3), 255, np.uint8))
    words = "explain", "hand.onnx", "white.png", "-t", 0, "-p", "unit"
    assert onnxcam(*words).out.splitlines()[1].split("\t")[4] == "all seen"
    (entry,) = json.loads(onnxcam(*words, "--json").out)
    assert (entry["box"], entry["box_is_all_seen"]) == ([0, 0, 2, 2], True)


def test_a_gradient_that_is_zero_is_an_error(onnxcam: Run, tmp_path: Path) -> None:
    model = hand_model()
    model.graph.initializer[1].float_data[2:] = [0, 0]
    onnx.save(model, tmp_path / "dead.onnx")
    ran = onnxcam("explain", "dead.onnx", PICTURE, "-t", 1, "-p", "unit")
    assert ran.code == 2
    assert "the gradient of class '1' at layer 'a' is zero everywhere" in ran.err
    assert not Path("onnxcam-out").exists()


def test_inspect(onnxcam: Run) -> None:
    ran = onnxcam("inspect", SHAPES)
    assert ran.code == 0
    for word in ("image", "logits", "Conv", "layers, the automatic choice first", "gradcam++"):
        assert word in ran.out
    found = json.loads(onnxcam("inspect", SHAPES, "--json").out)
    refused = {method: why for method, why in found["methods"].items() if why and "pip install" not in why}
    assert found["methods"].keys() == METHODS.keys()
    assert refused.keys() == OF_OTHERS
    assert "needs a transformer" in refused["legrad"]
    assert "compares detections" in refused["drise"]
    assert "explains words" in refused["attention-x-gradient"]
    assert set(found["class_independent"]) == {"fem", "eigencam", "kpcacam", "dff"}  # of a CNN
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert {line[0] for line in lines if line[-1] == INDEPENDENT} == set(found["class_independent"])
    assert ["method", "applies", "why not, or what to know"] in lines
    assert ran.out.count("needs a transformer in which") == 1
    assert ["chefer", "no", "as legrad"] in lines
    assert found["layers"][0][2] == "12 × 12"
    assert found["without_rule"] == []


def test_inspect_takes_what_the_user_says_and_names_the_extras_that_are_missing(
    onnxcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lime" else find(name))
    (tmp_path / "names.txt").write_text("one\nother\n")
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    ran = onnxcam("inspect", "hand.onnx", "--labels", "names.txt", "--task", "multi-label")
    assert "labels: 2 names, 'one' to 'other' (you said so)" in ran.out
    assert 'lime\tno\tneeds pip install "onnxcam[perturbation]"' in ran.out
    assert "sobol\tyes" in ran.out
    (tmp_path / "names.txt").write_text("one\n")
    ran = onnxcam("inspect", "hand.onnx", "--labels", "names.txt")
    assert (ran.code, ran.err.startswith("error: names.txt: 1 labels, but the model has 2 classes")) == (2, True)


def test_a_word_of_several_classes_is_offered_as_a_group(onnxcam: Run, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("red cat\nblack cat\n")
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    ran = onnxcam("explain", "hand.onnx", PICTURE, "-t", "cat", "--labels", "names.txt")
    assert ran.code == 2
    assert "no class is named 'cat'; the target any:cat explains 2 classes, red cat, black cat" in ran.err
    ran = onnxcam("labels", "hand.onnx", "c", "--labels", "names.txt")
    assert "--target 'red cat' --labels names.txt" in ran.err
    ran = onnxcam("labels", "hand.onnx", "cat", "--labels", "names.txt")
    assert [line.split("\t")[-1] for line in ran.out.splitlines()] == ["any:cat", "yes", "yes"]
    assert "next: onnxcam explain hand.onnx IMAGE --target any:cat --labels names.txt" in ran.err
    rows = json.loads(onnxcam("labels", "hand.onnx", "red", "--labels", "names.txt", "--json").out)
    assert rows == [{"class": 0, "name": "red cat", "found_by": "word", "in_group": True}]


def test_inspect_tells_why_a_method_does_not_apply(onnxcam: Run, tmp_path: Path) -> None:
    model = hand_model()
    model.graph.node[3].op_type = "Softsign"
    model.graph.node.insert(4, onnx.helper.make_node("Flatten", ["f"], ["g"]))
    model.graph.node[5].input[0] = "g"
    onnx.save(model, tmp_path / "curved.onnx")
    methods = json.loads(onnxcam("inspect", "curved.onnx", "--json").out)["methods"]
    assert "cam needs a network that ends in global average pooling" in methods["cam"]
    assert "use --method gradcam" in methods["cam"]
    assert methods["gradcam"] == ""


def test_inspect_names_operators_without_a_rule(onnxcam: Run, tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17, "my.ops" : 1]>
    g (float[1, 3, 8, 8] x) => (float[1, 2] y) { a = my.ops.Crumple(x) y = my.ops.Fold(a) }
    """)
    onnx.save(model, tmp_path / "odd.onnx")
    assert json.loads(onnxcam("inspect", "odd.onnx", "--json").out)["without_rule"] == ["Crumple", "Fold"]


def test_instrument(onnxcam: Run, tmp_path: Path) -> None:
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    ran = onnxcam("instrument", "hand.onnx", "-o", "out.onnx", "--layer", "a", "--layer", "c", "--input-gradient")
    assert ran.code == 0, ran.err
    onnx.checker.check_model("out.onnx", full_check=True)
    session = onnxruntime.InferenceSession("out.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert {"logits", "a", "a.gradient", "c", "c.gradient", "x.gradient"} <= set(names)
    results = dict(zip(names, session.run(None, {"x": HAND_X, "onnxcam.class": np.array([0])}), strict=True))
    np.testing.assert_allclose(results["a"], np.maximum(np.concatenate([HAND_X, -HAND_X], 1), 0))
    np.testing.assert_allclose(results["a.gradient"][0, :, 0, 0], [0.5, -0.25])
    np.testing.assert_allclose(results["x.gradient"], [[[[0.5, 0.25], [0.5, 0.25]]]])
    np.testing.assert_allclose(results["onnxcam.score"], [0.5])


def test_instrument_refuses(onnxcam: Run, tmp_path: Path) -> None:
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    ran = onnxcam("instrument", "hand.onnx", "-o", "none/out.onnx", "--layer", "a")
    assert ran.code == 2
    assert "cannot write 'none/out.onnx'" in ran.err
    ran = onnxcam("instrument", "hand.onnx", "-o", "out.onnx", "--layer", "b1")
    assert ran.code == 2
    assert "the model has no layer 'b1'" in ran.err
    assert not Path("out.onnx").exists()


def test_version_and_help(onnxcam: Run) -> None:
    assert onnxcam("--version").out == f"onnxcam {__version__}\n"
    for command in ("explain", "inspect", "instrument", "demo"):
        assert command in onnxcam("--help").out
        assert onnxcam(command, "--help").code == 0


def test_import_is_light() -> None:
    """Neither the package nor the command line's help may load what only the work needs."""
    code = "import sys, onnxcam, onnxcam.cli; print([m for m in sys.modules if m in sys.argv[1:]])"
    heavy = ["numpy", "onnx", "onnx_ir", "onnxruntime", "cv2", "rich", "torch"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_readme_names_every_method() -> None:
    root = Path(__file__).parents[2]
    rows = dict(re.findall(r"^\| `([a-z+-]+)`(.*)", (root / "docs/methods.md").read_text("utf-8"), re.MULTILINE))
    assert rows.keys() == METHODS.keys()
    count, table = re.findall(
        r"^(\d+) methods have.*?(^\| kind .*?)\n\n", (root / "README.md").read_text("utf-8"), re.M | re.S
    )[0]
    assert int(count) == len(METHODS)
    assert set(re.findall(r"`([a-z+-]+)`", table)) == METHODS.keys()
    assert {id for id, row in rows.items() if INDEPENDENT in row} == set(MethodsWith("class_independent").ids)
