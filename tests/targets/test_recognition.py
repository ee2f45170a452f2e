"""What is offered where a target does not fit: targets of this model that mean something for this image."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxcam
from onnxcam import Explainer
from onnxcam.errors import TargetError
from onnxcam.targets.heads import multiple
from onnxcam.targets.kinds import Text
from tests.targets.opened import Opened
from tests.zoo import detectors
from tests.zoo.convention import picture

X = np.random.default_rng(0).uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)


def network(outputs: str, last: str) -> onnx.ModelProto:
    """A network of the operators *last* on the image x, its features p [n, 3, 2, 2] and its scores m [n, 3]."""
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    offers (float[n, 3, 8, 8] x) => ({outputs}) {{
        p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(x)
        m = ReduceMean<axes = [2, 3], keepdims = 0>(x)
        {last}
    }}
    """)


CASES = {
    "a small classifier": (network("float[n, 3] y", "y = Identity(m)"), "detection=1"),
    "a small segmentation": (network("float[n, 6, 8, 8] y", "k = Neg(x) y = Concat<axis = 1>(x, k)"), "detection=1"),
    "no task": (network("float[n, 3, 1, 2] y", "y = ReduceMax<axes = [2]>(p)"), "top"),
    "features": (network("float[n, 3, 2] y", "y = ReduceMax<axes = [2], keepdims = 0>(p)"), "top"),
}


@pytest.mark.parametrize(("model", "wrong"), CASES.values(), ids=CASES)
def test_every_offer_resolves_and_has_a_gradient(model: onnx.ModelProto, wrong: str) -> None:
    opened = Opened(model)
    with pytest.raises(TargetError) as found:
        opened.goal(wrong, X)
    lists = re.findall(
        r"as an? [\w ]+? ((?:[^;]|; (?!as ))+)", re.split("what does: |what to explain, ", str(found.value))[1]
    )
    offers = [words for words in re.split(r", (?![^\[]*\])", lists[0]) if "FILE" not in words]
    assert offers
    for words in offers:
        assert np.abs(opened.gradient(opened.goal(words, X), X)).sum() > 0, words


def test_an_offer_behind_a_decision_is_its_scores() -> None:
    """The indices have no gradient."""
    model = network("int64[n, 2, 2] y", "y = ArgMax<axis = 1, keepdims = 0>(p)")
    with pytest.raises(TargetError, match=r"as a model p\[0, 0, 0, 0\]"):
        Opened(model).goal("detection=1", X)


def test_targets_are_shown_in_words() -> None:
    with pytest.raises(TargetError, match=r"^target 'text=A1 at=0' does not apply to a classifier"):
        Opened(CASES["a small classifier"][0]).goal(Text("A1", 0), X)


def test_offers_of_a_model_that_cannot_run_yet() -> None:
    """It needs a further input; the offers are not tried."""
    model = network("float[n, 3, 2] y", "q = Add(p, other) y = ReduceMax<axes = [2], keepdims = 0>(q)")
    model.graph.input.append(onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, [1]))
    with pytest.raises(TargetError, match=r"name what to explain, as a model y\[0, 0, 0\]"):
        Opened(model).goal("top", X)


def test_a_task_that_no_output_fits_is_refused() -> None:
    with pytest.raises(TargetError, match=r"has no outputs for the task 'detection': .*; leave out task= \(--task\)$"):
        Explainer(Path(onnxcam.__file__).parent / "assets" / "shapes.onnx", task="detection")


def test_another_number_of_names_than_of_classes_is_told() -> None:
    found = Explainer(detectors.yolov8(), labels=["cat", "dog", "bird", "cow"])(picture())
    assert "there are 4 names for 3 classes: the names may be wrong; give one for each" in found.warnings
    named = Explainer(detectors.yolov8(), labels=["cat", "dog", "bird"])(picture())
    assert not any("names may be wrong" in warning for warning in named.warnings)


@pytest.mark.parametrize(
    ("node", "factor"), [("Mul(x, two)", 2), ("Mul(two, x)", 2), ("Div(x, two)", 0.5), ("Div(two, x)", None)]
)
def test_what_is_a_multiple_of_a_tensor(node: str, factor: float | None) -> None:
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 18]>
    net (float[1, 2] x) => (float[1, 2] y) <float two = {{2}}> {{ y = {node} }}
    """)
    (last,) = ir.from_proto(model).graph
    found = multiple(last)
    assert (found and (found[0].name, found[1])) == (factor and ("x", factor))
