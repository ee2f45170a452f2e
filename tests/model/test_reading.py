"""The reading of a model: its parts, their sources, and the run of probe images."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import TargetError
from onnxcam.metadata.reading import SOURCES, Part
from onnxcam.model import probes
from onnxcam.model.description import ModelDescription
from onnxcam.targets.evidence import Evidence


def two_outputs() -> onnx.ModelProto:
    return onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 18]>
        g (float[N, 3, 8, 8] x) => (float[N, 3] a, float[N, 3] b) {
            r = Relu(x) p = GlobalAveragePool(r) a = Flatten(p) b = Neg(a)
        }
        """
    )


def test_parts_say_how_they_are_known() -> None:
    parts = Explainer(two_outputs(), preprocess="unit").reading
    assert parts[0].name == "task"
    assert all(part.source in SOURCES for part in parts)
    assert str(Part("task", "a classifier", "card")) == "task: a classifier (the model's card)"
    assert Part("task", "a classifier", "shapes").guessed
    assert not Part("task", "a classifier", "run").guessed


def test_the_user_says_the_task() -> None:
    explainer = Explainer(two_outputs(), preprocess="unit", task="embedding")
    assert explainer.reading[0] == Part("task", "an embedding", "user")
    assert explainer.replace(task=None).reading[0].value == "a classifier"


def test_probes_run_the_model() -> None:
    description = ModelDescription(two_outputs(), "cpu", "unit")
    runs = Evidence(description.open().model.graph, description.image, description.names, description._samples).runs
    assert len(runs) == probes.COUNT
    assert len({run["a"].tobytes() for run in runs}) == probes.COUNT
    for run in runs:
        np.testing.assert_array_equal(run["a"], -run["b"])


def test_no_run_without_another_input() -> None:
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 18]>
        g (float[N, 3, 8, 8] x, float[N, 3] w) => (float[N, 3] a) {
            r = Relu(x) p = GlobalAveragePool(r) f = Flatten(p) a = Mul(f, w)
        }
        """
    )
    assert ModelDescription(model, "cpu", "unit")._samples() == []


def test_an_output_that_is_not_there() -> None:
    description = ModelDescription(two_outputs(), "cpu", "unit", said={"scores": "b"})
    evidence = Evidence(description.open().model.graph, description.image, description.names)
    found = evidence.output("scores")
    assert found is not None
    assert found.name == "b"
    assert evidence.output("boxes") is None
    with pytest.raises(TargetError, match="the model has no output 'c' for boxes"):
        ModelDescription(two_outputs(), "cpu", "unit", said={"boxes": "c:xyxy"})


def test_a_model_that_takes_too_long_is_read_without_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 18]>
        g (float[1, 3, 8, 8] x) => (float[1, 3] y) <int64 many = {100000000}, bool yes = {1}> {
            p = GlobalAveragePool(x)
            f = Flatten(p)
            y = Loop(many, yes, f) <body = b (int64 i, bool go, float[1, 3] s) => (bool on, float[1, 3] t) {
                on = Identity(go)
                t = Sin(s)
            }>
        }
        """
    )
    monkeypatch.setattr(probes, "SECONDS", 0.5)
    assert ModelDescription(model, "cpu", "unit")._samples() == []
