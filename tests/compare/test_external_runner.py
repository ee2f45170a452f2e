"""The predictions of a candidate from a user's engine: a function in a process of its own."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxcam.compare.external_runner import ExternalRunner
from onnxcam.compare.external_worker import packed, unpacked
from onnxcam.compare.observer import Observer
from onnxcam.compare.validate import validate
from onnxcam.errors import EngineError, MetricError
from tests.command import Ran
from tests.compare.engines import ENGINE, MODELS, engine, suppressing
from tests.compare.twins import PICTURES, SHAPES

PAGE = Path(__file__).parents[2] / "docs" / "runners.md"
DETECTOR = MODELS / "detector.onnx"
OUTPUTS = [
    ir.Value(name="boxes", shape=ir.Shape(["n", 10, 4]), type=ir.TensorType(ir.DataType.FLOAT)),
    ir.Value(name="scores", shape=ir.Shape(["n", 10]), type=ir.TensorType(ir.DataType.FLOAT)),
]


def test_arrays_go_through_a_pipe() -> None:
    given = {"a/b:0 ä": np.arange(6, dtype=np.uint8).reshape(2, 3), "": np.float32(3), "c": np.zeros((0, 4))}
    found = unpacked(packed(given))
    assert list(found) == list(given)
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("model", [SHAPES, DETECTOR], ids=["classifier", "detector"])
@pytest.mark.parametrize("function", ["run", "listed"])
def test_another_engine_agrees(model: Path, function: str, tmp_path: Path) -> None:
    runner = engine(tmp_path, ENGINE.format(model=str(model))).replace(":run", f":{function}")
    found = validate(model, Observer(model, runner=runner), PICTURES)
    assert found.passed, found.verdicts
    assert found.candidate.provider == runner
    assert f"candidate: predictions come from the runner {runner!r}, maps from the graph of the file" in found.warnings


def test_the_engine_is_asked_for_the_predictions(tmp_path: Path) -> None:
    """An engine that always says the same is found out, though the file beside it is right."""
    text = "import numpy as np\ndef run(inputs):\n    return np.eye(1, 6, dtype=np.float32)\n"
    count = Observer(SHAPES).classes
    found = validate(SHAPES, Observer(SHAPES, runner=engine(tmp_path, text.replace("6", str(count)))), PICTURES)
    assert {pair.tops[1] for pair in found.journal} == {0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise OSError('no device')", "the import fails: OSError: no device"),
        ("run = 3", "the import fails: TypeError: run is int, no function"),
        ("import absent_engine", "the import fails: ModuleNotFoundError: No module named 'absent_engine'"),
        ("def go(x): ...", "the import fails: AttributeError: module 'runner' has no attribute 'run'"),
        ("def run(x):\n    raise ValueError('bad\\nfirmware')", "a run fails: ValueError: bad"),
        ("def run(x): return x['y']", "a run fails: KeyError: 'y'"),
        ("import os\ndef run(x): os._exit(7)", "its process ended, exit code 7; its messages are above"),
        ("import os\ndef run(x): os.kill(os.getpid(), 9)", "its process ended, signal 9"),
        ("import time\ndef run(x): time.sleep(99)", r"a run takes longer than 1 s; it was stopped; --runner-timeout a"),
        ("def run(x): return []", "returns 0 outputs, the model has 2: boxes, scores; return a dict by name"),
        ("def run(x): return {'boxes': [1]}", "returns no output 'scores'; it returns boxes"),
        ("def run(x): return 'text'", "a run fails: TypeError: output '#0' is <U4, no array of numbers"),
        (
            "import numpy as np\ndef run(x): return [np.zeros((1, 10, 4)), np.zeros((1, 9))]",
            r"returns 'scores' of shape \[1, 9\], but the model declares \[n,10\]",
        ),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="signals and exit codes differ elsewhere")
def test_an_engine_that_fails_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(EngineError, match=message) as caught:
        ExternalRunner(engine(tmp_path, text), OUTPUTS, seconds=1)({"image": np.zeros((1, 3))})
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("engine", "the runner 'engine' is no module:function, such as engine.py:run"),
        ("absent.py:run", "the runner 'absent.py:run': there is no file absent.py"),
        ("absent:run", "the import fails: ModuleNotFoundError: No module named 'absent'"),
    ],
)
def test_what_is_no_runner(spec: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        ExternalRunner(spec, OUTPUTS)


def test_tensors_inside_the_graph_are_refused(tmp_path: Path) -> None:
    model = suppressing(tmp_path / "rows.onnx", rows=True)
    with pytest.raises(MetricError, match=r"a tensor inside the graph, which the runner .* does not give; make"):
        validate(model, Observer(model, runner=engine(tmp_path, ENGINE.format(model=str(model)))), PICTURES)


def test_on_the_command_line(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    runner = engine(tmp_path, ENGINE.format(model=str(SHAPES)))
    done = onnxcam("validate", SHAPES, SHAPES, *PICTURES, "--runner", runner, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert "predictions come from the runner" in done.err
    broken = engine(tmp_path, "def run(x): raise OSError('gone')")
    done = onnxcam("validate", SHAPES, SHAPES, *PICTURES, "--runner", broken, "-o", tmp_path / "other")
    assert done.code == 2
    assert done.err.count("error:") == 1
    assert "OSError: gone" in done.err


def written(name: str, folder: Path, **files: Path) -> str:
    """Write the function *name* of the page into *folder*; return it as a runner."""
    (block,) = re.findall(rf"^```python {name}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for given, path in files.items():
        block = block.replace(f"candidate.{given}", str(path))
    return engine(folder, block)


@pytest.mark.parametrize("model", [SHAPES, DETECTOR], ids=["classifier", "detector"])
def test_openvino(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="no OpenVINO: pip install openvino")
    found = validate(model, Observer(model, runner=written("openvino", tmp_path, onnx=model)), PICTURES)
    assert found.passed, found.verdicts


def test_litert(real: Path, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="no LiteRT: pip install ai-edge-litert")
    float_, int8 = (real / "models" / f"vww_mobilenet_96_{kind}.onnx" for kind in ("f32", "qdq"))
    runner = written("litert", tmp_path, tflite=real / "sources" / "vww_96_int8.tflite")
    images = sorted((real / "images").glob("*.jpg"))[:6]
    found = validate(float_, Observer(int8, runner=runner), images)
    assert found.summaries["top1"].mean == 1
    assert found.passed, found.verdicts
