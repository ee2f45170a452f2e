"""The inputs of two models: guesses follow evidence, and a doubt about the inputs is a verdict of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.observer import Observer
from onnxcam.compare.record import record
from onnxcam.compare.report.html import html
from onnxcam.compare.validate import validate
from onnxcam.compare.validation import Validation
from onnxcam.preprocess import PRESETS, TensorSpec
from onnxcam.preprocess.input_evidence import InputRange, span
from onnxcam.preprocess.parser import parse
from tests.command import Ran
from tests.compare.test_layers import spoilt_scale
from tests.compare.validations import pair, validation

COLOUR = TensorSpec.make("x", np.dtype(np.float32), (1, 3, 224, 224))


def with_input(source: Path, path: Path, *nodes: onnx.NodeProto, **constants: np.ndarray) -> Path:
    """Write the network of *source* with *nodes* before it, which make ``y`` from ``x``, its input."""
    model = onnx.load(source)
    graph, name = model.graph, model.graph.input[0].name
    for node in graph.node:
        node.input[:] = ["y" if each == name else each for each in node.input]
    for number, node in enumerate(nodes):
        node.input[:] = [name if each == "x" else each for each in node.input]
        graph.node.insert(number, node)
    graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in constants.items())
    onnx.save(model, path)
    return path


def quantised_input(source: Path, path: Path, scale: float, zero: int) -> Path:
    """Write the network of *source*, its float input quantised to int8."""
    nodes = (
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    )
    return with_input(source, path, *nodes, s=np.array(scale, np.float32), z=np.array(zero, np.int8))


def clipped_input(source: Path, path: Path, low: float, high: float) -> Path:
    node = helper.make_node("Clip", ["x", "low", "high"], ["y"])
    return with_input(source, path, node, low=np.array(low, np.float32), high=np.array(high, np.float32))


def vww(real: Path, kind: str = "f32") -> Path:
    return real / "models" / f"vww_mobilenet_96_{kind}.onnx"


def photos(real: Path) -> str:
    return f"{real}/images/*.jpg"


@pytest.mark.parametrize(
    ("name", "numbers", "how"),
    [
        ("vww_mobilenet_96", "range=0-1,", "that of the candidate ("),
        ("resnet8_cifar10", "range=0-255,", "a guess: 'raw'"),  # its own weights expect that range
    ],
)
def test_a_float_reference_follows_the_range_of_its_int8_candidate(
    name: str, numbers: str, how: str, real: Path, onnxcam: Callable[..., Ran]
) -> None:
    models = [real / "models" / f"{name}_{kind}.onnx" for kind in ("f32", "qdq")]
    ran = onnxcam("validate", *models, photos(real), real / "images" / "mnist", "-o", "out")
    assert ran.code == 0, ran.err
    assert f"the preprocessing is {how}" in ran.err
    assert numbers in ran.err
    assert ran.err.splitlines()[-1].startswith("passed on ")


def test_the_int8_model_may_be_the_reference(real: Path) -> None:
    found = validate(vww(real, "qdq"), vww(real), photos(real))
    assert found.verdict == "passed"
    assert "range=0-1," in found.candidate.preprocess
    assert found.candidate.preprocess_source == "partner"


def test_a_spoilt_candidate_fails_without_a_doubt(real: Path, tmp_path: Path) -> None:
    spoilt = spoilt_scale(vww(real, "qdq"), tmp_path / "spoilt.onnx", "Relu__38:0")
    found = validate(vww(real), spoilt, photos(real))
    assert (found.verdict, found.doubt) == ("failed", "")


def test_a_quantised_float_input_is_evidence(real: Path, tmp_path: Path) -> None:
    """The candidate takes floats; its first QuantizeLinear says from 0 to 1."""
    found = validate(vww(real), quantised_input(vww(real), tmp_path / "q.onnx", 1 / 255, -128), photos(real))
    assert found.verdict == "passed"
    assert "range=0-1," in found.reference.preprocess
    assert any("because the graph quantises 0 to 1" in warning for warning in found.warnings)


def test_a_preprocessing_stated_for_one_holds_for_both(real: Path) -> None:
    found = validate(Observer(vww(real), preprocess="unit,order=bgr"), vww(real), photos(real))
    assert found.verdict == "passed"
    assert found.reference.preprocess == found.candidate.preprocess
    assert any("because that of the reference is stated" in warning for warning in found.warnings)


def test_a_graph_that_normalises_follows_no_one(real: Path, tmp_path: Path, onnxcam: Callable[..., Ran]) -> None:
    """The candidate takes 0..255 and divides by 255 itself: the reference's guess is wrong, and said to be."""
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    candidate = with_input(vww(real), tmp_path / "inside.onnx", node, factor=np.array(1 / 255, np.float32))
    ran = onnxcam("validate", vww(real), candidate, photos(real), "-o", "out")
    assert ran.code == 3
    assert ran.err.splitlines()[-1].endswith(
        "the two models get different inputs: the reference -1 to 1 (a guess), the candidate 0 to 255 (known by its "
        "graph); state the right preprocessing: with --reference-preprocess unit the requirements hold on the first 8 "
        "images"
    )
    assert ran.err.splitlines()[-1].startswith("UNDECIDED on ")
    right = onnxcam("validate", vww(real), candidate, photos(real), "-o", "right", "--reference-preprocess", "unit")
    assert right.code == 0, right.err


def test_a_stated_preprocessing_that_the_input_cannot_hold(real: Path) -> None:
    found = validate(vww(real), vww(real, "qdq"), photos(real), preprocess="inception")
    assert found.verdict == "undecided"
    assert "(stated, but its quantised input represents 0 to 1)" in found.doubt
    assert "with -p unit the requirements hold" in found.doubt


def test_what_the_user_states_apart_is_no_doubt(real: Path) -> None:
    sides = Observer(vww(real), preprocess="unit"), Observer(vww(real), preprocess="raw")
    found = validate(*sides, photos(real))
    assert found.verdict == "failed"
    assert any("the two models preprocess images differently: the reference 0 to 1" in one for one in found.warnings)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0, 1, "the requirements fail with inception (the guess), and hold with unit"),
        (-1, 1, "the requirements hold with inception (the guess), and fail with imagenet"),
    ],
)
def test_a_guess_that_decides_the_verdict(low: float, high: float, words: str, real: Path, tmp_path: Path) -> None:
    """The candidate computes the same as the reference for numbers from *low* to *high* only."""
    candidate = clipped_input(vww(real), tmp_path / "clipped.onnx", low, high)
    found = validate(vww(real), candidate, photos(real))
    assert found.verdict == "undecided"
    assert not found.passed
    assert words in found.doubt
    assert validate(vww(real), candidate, photos(real), preprocess="unit").verdict == "passed"


def test_a_guess_that_changes_nothing_is_no_doubt(real: Path, tmp_path: Path) -> None:
    assert validate(vww(real), vww(real), photos(real)).verdict == "passed"
    assert validate(vww(real), clipped_input(vww(real), tmp_path / "c.onnx", 0, 0.02), photos(real)).verdict == "failed"


def test_recordings_of_different_inputs(real: Path, tmp_path: Path) -> None:
    pictures = sorted((real / "images").glob("*.jpg"))[:6]
    record(vww(real), pictures, tmp_path / "a")
    record(vww(real, "qdq"), pictures, tmp_path / "b", explain_from=tmp_path / "a")
    found = compare_recordings(tmp_path / "a", tmp_path / "b", force=True, require="cosine>=0.9999")
    assert found.verdict == "undecided"
    assert "different inputs, range=0-1,mean=0.5,std=0.5,order=rgb in " in found.doubt
    assert "record it again with --preprocess" in found.doubt
    record(vww(real), pictures, tmp_path / "c", preprocess="unit")
    record(vww(real, "qdq"), pictures, tmp_path / "d", preprocess="unit", explain_from=tmp_path / "c")
    assert compare_recordings(tmp_path / "c", tmp_path / "d").verdict == "passed"


def doubted() -> Validation:
    return validation([pair("a.png", 0.7)], doubt="the two models get <different> inputs; state -p unit")


def test_the_report_of_a_doubt() -> None:
    page = html(doubted())
    assert "? Undecided" in page
    assert "<title>Undecided: " in page
    assert "On 1 image: the two models get &lt;different&gt; inputs; state -p unit." in page
    assert doubted().as_dict()["verdict"] == "undecided"
    assert doubted().as_dict()["passed"] is False


@pytest.mark.parametrize(
    ("ends", "fitting"),
    [
        ((0, 1), {"unit", "yolo"}),
        ((0, 255), {"raw"}),
        ((-1, 1), {"unit", "yolo", "inception", "tf"}),  # symmetric: only the larger end is known
        ((-0.93, 1), {"inception", "tf"}),
        ((-2.1, 2.6), {"imagenet", "clip"}),
        ((-120, 150), {"caffe"}),
        ((0, 0.08), set()),
    ],
)
def test_the_presets_that_a_range_fits(ends: tuple[float, float], fitting: set[str]) -> None:
    assert {name for name in PRESETS if InputRange(*ends).fits(parse(name, COLOUR))} == fitting


def test_the_span_by_hand() -> None:
    assert span(parse("caffe", COLOUR)) == (-123.0, 151.0)
    assert span(parse("raw", COLOUR)) == (0.0, 255.0)
