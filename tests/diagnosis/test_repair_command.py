"""`onnxcam repair`: exit codes, what is written, and messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.command import Ran
from tests.compare.tasks import twins
from tests.diagnosis.test_repair import SHAPES

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images, an int8 file and a spoilt one."""
    folder = tmp_path_factory.mktemp("command")
    images = twins.drawn(folder / "images", count=4)
    model = onnx.load(twins.quantised(SHAPES, images, folder / "int8.onnx"))
    for tensor in model.graph.initializer:
        if tensor.name == "relu_4_scale":
            scale = numpy_helper.to_array(tensor) / np.float32(40)
            tensor.CopyFrom(numpy_helper.from_array(scale, tensor.name))
    onnx.save(model, folder / "spoilt.onnx")
    return folder


def test_a_spoilt_file_is_repaired(onnxcam: Run, folder: Path) -> None:
    ran = onnxcam("repair", SHAPES, folder / "spoilt.onnx", folder / "images", "-o", "fixed.onnx", "--report", "report")
    assert ran.code == 0, ran.err
    assert "a better scale for 1 tensor restores" in ran.err
    assert "2 images for the search, 2 others for the confirmation" in ran.err
    assert "written to fixed.onnx" in ran.err
    assert "top1 >= 0.9" in ran.out
    assert "new units: activation relu_4" in ran.out
    said = json.loads(Path("report/repair.json").read_text("utf-8"))
    assert said["passed"]
    assert said["images"] == {"search": 2, "confirmation": 2}
    assert onnxcam("validate", SHAPES, "fixed.onnx", folder / "images").code == 0
    again = onnxcam("repair", SHAPES, "fixed.onnx", folder / "images", "-o", "again.onnx", "--json")
    assert again.code == 0
    assert json.loads(again.out)["already"]
    assert "nothing is changed" in again.err
    assert Path("again.onnx").read_bytes() == Path("fixed.onnx").read_bytes()


def test_without_a_float_model(onnxcam: Run, folder: Path) -> None:
    ran = onnxcam("repair", "-", folder / "spoilt.onnx", folder / "images", "-o", "fixed.onnx")
    assert ran.code == 0, ran.err
    assert Path("fixed.onnx").exists()


def test_no_repair_is_exit_code_1(onnxcam: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxcam.diagnosis.repair_result import Repair

    monkeypatch.setattr(Repair, "passed", False)
    ran = onnxcam("repair", "-", folder / "spoilt.onnx", folder / "images", "-o", "fixed.onnx")
    assert ran.code == 1
    assert "does not suffice" in ran.err
    assert not Path("fixed.onnx").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--write", "nncf"], "--write needs a folder"),
        (["--write", "coreml"], "--write takes ort, nncf, qnn, aimet, tensorrt, tflite, not 'coreml'"),
        (["-r", "pearson>1"], "even with all"),
        (["-o", "spoilt.onnx"], "cannot be its output"),
        (["-o", "images/000.png", "--overwrite"], "cannot be its output"),
        (["-o", "no/fixed.onnx"], "cannot write 'no/fixed.onnx'"),
        (["--report", "spoilt.onnx"], "Not a directory"),
        (["-r", "beauty>1"], "no metric is called 'beauty'"),
        (["-p", "resize=8x8,crop=9x9"], "crop"),
    ],
)
def test_bad_input_is_one_line(onnxcam: Run, folder: Path, words: list[str], message: str) -> None:
    given = [str(folder / word) if word.endswith(("spoilt.onnx", "000.png")) else word for word in words]
    options = given if "-o" in words else ["-o", "fixed.onnx", *given]
    ran = onnxcam("repair", SHAPES, folder / "spoilt.onnx", folder / "images", *options)
    assert ran.code == 2
    assert message in ran.err
    assert len(ran.err.strip().splitlines()) <= 3  # a mark under the position may follow
    assert not Path("fixed.onnx").exists()


@pytest.mark.parametrize(
    ("reference", "candidate", "images", "message"),
    [
        ("none.onnx", "spoilt.onnx", "images", "none.onnx"),
        ("-", "shapes", "images", "no activation of the model is quantised"),
        ("detector", "spoilt.onnx", "images", "take"),
        ("shapes", "spoilt.onnx", "images/000.png", "at least 2 images"),
        ("shapes", "spoilt.onnx", "nothing", "nothing"),
    ],
)
def test_files_that_do_not_fit(
    onnxcam: Run, folder: Path, reference: str, candidate: str, images: str, message: str
) -> None:
    known = {"shapes": SHAPES, "detector": twins.MODELS / "detector.onnx", "-": "-"}
    first, second = (known.get(name, folder / name) for name in (reference, candidate))
    ran = onnxcam("repair", first, second, folder / images, "-o", "fixed.onnx")
    assert ran.code == 2
    assert message in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_a_foreign_report_is_kept(onnxcam: Run, folder: Path) -> None:
    Path("report").mkdir()
    Path("report/repair.json").write_text("{}", encoding="utf-8")
    ran = onnxcam("repair", SHAPES, folder / "spoilt.onnx", folder / "images", "-o", "fixed.onnx", "--report", "report")
    assert ran.code == 2
    assert "was not written by onnxcam" in ran.err
    assert Path("report/repair.json").read_text(encoding="utf-8") == "{}"
    assert not Path("fixed.onnx").exists()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(0.61, 0.93, "0.61 -> 0.93"), (0.99999, 1.0, "0.99999 -> 1"), (1.0, 1.0, "1 -> 1"), (None, 0.5, "none -> 0.5")],
)
def test_a_change_is_told_with_as_many_digits_as_show_it(before: float | None, after: float, words: str) -> None:
    from onnxcam.diagnosis.repair_result import _change

    assert _change(before, after) == words
