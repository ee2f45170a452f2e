"""``onnxcam diagnose`` as a user runs it: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rich.console import Console

from onnxcam.cli import show
from tests.command import Ran
from tests.compare.tasks.twins import MODELS
from tests.compare.twins import noisy, quantize
from tests.diagnosis.twins import Twins, twins_in

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return twins_in(tmp_path_factory.mktemp("twins"))


def test_it_names_the_spoilt_tensor_its_cause_and_its_cure(onnxcam: Run, twins: Twins) -> None:
    ran = onnxcam("diagnose", twins.real, twins.spoilt, twins.images)
    assert ran.code == 0, ran.err
    header, *rows = [line.split("\t") for line in ran.out.splitlines()]
    assert {len(row) for row in (header, *rows)} == {16}
    assert header[:4] + header[12:] == ["rank", "tensor", "kind", "damage", "by SQNR", "cause", "why", "cure"]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    shares = [float(row[3]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 1) < 0.01
    assert sorted(int(row[12]) for row in rows) == [int(row[0]) for row in rows]
    assert rows[0][2:3] + rows[0][13:14] == ["activation", "clipped"]
    last = ran.err.splitlines()[-1]
    assert last.startswith(f"Activation {rows[0][1]} causes ")
    assert f"{rows[0][14]}. Cure: {rows[0][15]}" in last
    names = ["diagnosis.html", "diagnosis.json", "model-explorer.json"]
    assert sorted(path.name for path in Path("onnxcam-diagnosis").iterdir()) == names


def test_json_has_a_schema_and_stable_names(onnxcam: Run, twins: Twins) -> None:
    ran = onnxcam("diagnose", twins.real, twins.spoilt, twins.images, "--most", 2, "--json", "--annotate", "said.onnx")
    assert f" on 2 of {len(list(twins.images.iterdir()))} images (--most)" in ran.err
    assert b"onnxcam.damage" in Path("said.onnx").read_bytes()
    found = json.loads(ran.out)
    assert found == json.loads(Path("onnxcam-diagnosis/diagnosis.json").read_text("utf-8"))
    assert found["schema"] == 1
    assert len(found["images"]) == 2
    names = {"tensor", "name", "kind", "place", "node", "shape", "share", "effects", "accumulated", "sqnr", "sqnr_rank"}
    assert set(found["tensors"][0]) == names | {"clipped", "cause"}
    assert set(found["tensors"][0]["effects"]["map"]) == {"size", "mean", "spread", "worst"}
    assert set(found["tensors"][0]["cause"]) == {"id", "words", "cure"}


@pytest.mark.parametrize("width", [80, 160])
def test_a_person_sees_a_table_that_fits(
    onnxcam: Run, twins: Twins, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(show, "out", Console(force_terminal=True, width=width, color_system=None, highlight=False))
    ran = onnxcam("diagnose", "-", twins.spoilt, twins.images, "--most", 1)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert "damage" in lines[0]
    assert ("outputs" in lines[0]) == (width == 160)
    assert lines[1].split()[0] == "1"
    assert "clipped" in lines[1]
    assert all(len(line) <= width for line in lines)


def of_nan(twins: Twins, path: Path) -> Path:
    """Write the float model with one weight that is not a number."""
    model = onnx.load(twins.real)
    tensor = next(x for x in model.graph.initializer if len(x.dims) == 4)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, path)
    return path


def constant(twins: Twins, path: Path) -> Path:
    """Write the float model with a first layer whose results are all negative: the ReLU behind it gives 0."""
    model = onnx.load(twins.real)
    bias = next(x for x in model.graph.initializer if x.name == model.graph.node[0].input[2])
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) - np.float32(1e4), bias.name))
    onnx.save(model, path)
    return path


def other_graph(twins: Twins, path: Path) -> Path:
    """Write the float model with its last activation function removed."""
    model = onnx.load(twins.real)
    relu = [node for node in model.graph.node if node.op_type == "Relu"][-1]
    relu.op_type = "Neg"
    onnx.save(model, path)
    return path


def test_bad_input_is_told_in_one_line(onnxcam: Run, twins: Twins, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    other = other_graph(twins, tmp_path / "other.onnx")
    dead = constant(twins, tmp_path / "dead.onnx")
    deads = quantize(dead, tmp_path / "deads.onnx", twins.images)
    cases = {
        "such as": (noisy(tmp_path / "far.onnx", 2.0), twins.int8, twins.images),
        "without rounding the quantised model computes": (
            other,
            twins.int8,
            twins.images,
        ),
        "no activation of the model is quantised": (twins.real, twins.real, twins.images),
        "none of the 1 images could be read": (twins.real, twins.int8, text),
        "the float model gives NaN": (of_nan(twins, tmp_path / "nan.onnx"), twins.int8, twins.images),
        "the float model takes": (MODELS / "embedder.onnx", twins.int8, twins.images),
        "the two models are swapped": (twins.int8, twins.real, twins.images),
        "the float model is itself quantised": (twins.int8, twins.int8, twins.images),
        "the float model gives the same outputs for each image": (dead, deads, twins.images),
        "zebra": (twins.real, twins.int8, twins.images, "--target", "zebra"),
        "nothing.onnx": ("nothing.onnx", twins.int8, twins.images),
        "is read by this command": (twins.real, twins.int8, twins.images, "--annotate", twins.int8),
        "'out' is read by": (Path("out"), twins.int8, twins.images, "--annotate", "out", "--overwrite"),
        "'in.png' is read by": (twins.real, twins.int8, "in.png", "--annotate", "in.png", "--overwrite"),
        "cannot write 'no/said.onnx'": (twins.real, twins.int8, twins.images, "--annotate", "no/said.onnx"),
        "into output folder 'in.png'": (twins.real, twins.int8, twins.images, "-o", "in.png"),
    }
    shutil.copy(twins.real, "out")
    shutil.copy(next(twins.images.iterdir()), "in.png")
    for words, arguments in cases.items():
        ran = onnxcam("diagnose", *arguments)
        assert (ran.code, ran.out) == (2, ""), (words, ran.err)
        line = ran.err.splitlines()[-1]
        assert line.startswith("error: "), ran.err
        assert words in line
    assert not list(Path().glob("onnxcam-*"))


def test_an_unreadable_image_is_left_out(onnxcam: Run, twins: Twins, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    ran = onnxcam("diagnose", twins.real, twins.int8, "text.png", twins.images, "--most", 1, "--json")
    assert ran.code == 0, ran.err
    assert "warning: left out: text.png" in ran.err
    assert len(json.loads(ran.out)["images"]) == 1


def test_validate_says_why(onnxcam: Run, twins: Twins) -> None:
    ran = onnxcam("validate", twins.real, twins.spoilt, twins.images, "-o", "out", "--why", "--json")
    assert ran.code == 1, ran.err
    why, verdict = (line for line in ran.err.splitlines() if line.startswith(("why: ", "FAILED")))
    assert why.startswith("why: Activation ")
    assert verdict.startswith("FAILED on 4 images: ")
    found = json.loads(ran.out)["diagnosis"]
    assert found == json.loads(Path("out/diagnosis.json").read_text("utf-8"))
    assert why == f"why: {found['sentence']}"
    assert len(found["images"]) == 4
    page = Path("out/report.html").read_text("utf-8")
    assert "What spoils the candidate" in page
    assert found["tensors"][0]["name"] in page
    assert Path("out/diagnosis.html").is_file()


def test_validate_keeps_its_result_if_there_is_no_diagnosis(onnxcam: Run, twins: Twins) -> None:
    ran = onnxcam("validate", twins.real, twins.real, twins.images, "-o", "out", "--why")
    assert ran.code == 0, ran.err
    assert "warning: no diagnosis: no activation of the model is quantised" in ran.err
    assert "diagnosis" not in json.loads(Path("out/validation.json").read_text("utf-8"))


def of_four(source: Path, path: Path) -> Path:
    """Write the model *source* with a fixed batch of four images."""
    model = onnx.load(source)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    del model.graph.value_info[:]
    onnx.save(model, path)
    return path


def test_a_fixed_batch_changes_nothing(onnxcam: Run, twins: Twins, tmp_path: Path) -> None:
    real, spoilt = of_four(twins.real, tmp_path / "real.onnx"), of_four(twins.spoilt, tmp_path / "spoilt.onnx")
    pairs = [(twins.real, twins.spoilt), (real, spoilt), (twins.real, spoilt)]
    found = [onnxcam("diagnose", *pair, twins.images, "--most", 1, "--overwrite") for pair in pairs]
    assert [ran.code for ran in found] == [0, 0, 0], found
    assert len({ran.err.splitlines()[-1] for ran in found}) == 1
    ran = onnxcam("repair", real, spoilt, twins.images, "-o", "fixed.onnx")
    assert ran.code == 0, ran.err
    assert "a better scale" in ran.err


def test_a_file_that_passes_is_copied(onnxcam: Run, twins: Twins, tmp_path: Path) -> None:
    """The next step of a script finds a file, with its weights."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    onnx.save(onnx.load(twins.int8), "in/int8.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    ran = onnxcam("repair", twins.real, "in/int8.onnx", twins.images, "-o", "out/fixed.onnx", "--require", "top1>=0")
    assert ran.code == 0, ran.err
    assert "as it is; nothing is changed; copied to out/fixed.onnx" in ran.err
    for name, other in (("fixed.onnx", "int8.onnx"), ("w.bin", "w.bin")):
        assert Path("out", name).read_bytes() == Path("in", other).read_bytes()
    ran = onnxcam("repair", twins.real, "in/int8.onnx", twins.images, "-o", "in/beside.onnx", "--require", "top1>=0")
    assert ran.code == 0, ran.err


def test_a_method_without_gradient_measures_no_maps(onnxcam: Run, twins: Twins) -> None:
    ran = onnxcam("diagnose", twins.real, twins.spoilt, twins.images, "--most", 1, "-m", "occlusion")
    assert ran.code == 0, ran.err
    assert "warning: the effects on maps are not measured: the method occlusion uses no gradient" in ran.err


def test_what_the_pairing_found_is_printed(onnxcam: Run, twins: Twins, tmp_path: Path) -> None:
    """A layer whose bias stays a float, and is not that of the float model: as NNCF and AIMET leave it."""
    model = onnx.load(twins.int8)
    real = {x.name: numpy_helper.to_array(x) for x in onnx.load(twins.real).graph.initializer}
    reader = next(node for node in model.graph.node if node.input[0].endswith("_bias_quantized"))
    (name,) = [name for name in real if reader.input[0] == f"{name}_quantized"]
    model.graph.node.remove(reader)
    for node in model.graph.node:
        node.input[:] = [f"{name}" if x == reader.output[0] else x for x in node.input]
    model.graph.initializer.append(numpy_helper.from_array(real[name] + np.float32(0.05), name))
    onnx.save(model, tmp_path / "moved.onnx")
    ran = onnxcam("diagnose", twins.real, "moved.onnx", twins.images, "--most", 1, "--json")
    assert ran.code == 0, ran.err
    (line,) = [line for line in ran.err.splitlines() if line.startswith("1 bias differs from the float model")]
    assert f": {name} by " in line
    (moved,) = json.loads(ran.out)["moved_biases"]
    assert moved["name"] == name
    assert abs(moved["change"] - 0.05) < 1e-4
    assert moved["steps"] > 0


def test_tensors_without_a_partner_are_printed() -> None:
    from onnxcam.cli.diagnose import _notes
    from onnxcam.diagnosis.diagnosis import Diagnosis

    notes = [_notes(Diagnosis([], {}, [], list("abcd"[:count]))) for count in (0, 1, 4)]
    assert notes[0] == []
    assert notes[1] == ["1 quantised tensor has no partner in the float model: a"]
    assert notes[2] == ["4 quantised tensors have no partner in the float model: a, b, c …"]
