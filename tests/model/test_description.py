"""What is known of a model before anything is explained."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam.errors import ModelError, TargetError
from onnxcam.model.description import ModelDescription
from onnxcam.structure.layout import GridLayout
from onnxcam.targets.classification import Classes

TWO_INPUTS = """
<ir_version: 8, opset_import: ["" : 18]>
answers (float[n, 1, 2, 2] picture, int64[n, 2] question) => (float[n, 2] logits, float[n, 2] likely)
<float[2, 1, 1, 1] w = {1, -1}, float[2, 2] v = {2, -1, 0, 3}, float[2] b = {0, 0}>
{
    c = Conv(picture, w)
    a = Relu(c)
    p = GlobalAveragePool(a)
    f = Flatten(p)
    q = Cast<to = 1>(question)
    s = Mul(f, q)
    logits = Gemm<transB = 1>(s, v, b)
    likely = Softmax(logits)
}
"""
X = np.array([[[[1, -2], [3, -4]]]], np.float32)
Q = np.array([[1, 2]], np.int64)


def opened(**settings: object) -> ModelDescription:
    return ModelDescription(onnx.parser.parse_model(TWO_INPUTS), "cpu", **settings)  # type: ignore[arg-type]


def test_what_the_model_tells() -> None:
    network = opened(labels=["no", "yes"])
    assert network.picture == "picture"
    assert network.layout == GridLayout(1, (2, 3))
    assert [value.name for value in network.others] == ["question"]
    assert network.outputs == ["logits", "likely"]
    assert isinstance(network.task, Classes)
    assert network.class_names == ["no", "yes"]
    assert network.multi_label is False


def test_each_opening_is_a_model_of_its_own() -> None:
    network = opened()
    first, second = network.open(), network.open()
    first.model.graph.outputs.clear()
    assert len(second.model.graph.outputs) == 2


def test_other_inputs_are_repeated_for_each_picture() -> None:
    feeds = opened(given={"question": "1,2"}).feeds(np.repeat(X, 3, axis=0), {})
    np.testing.assert_array_equal(feeds["question"], np.repeat(Q, 3, axis=0))
    assert feeds["picture"].shape == (3, 1, 2, 2)


def test_what_a_call_gives_stands_above_what_was_given_before() -> None:
    network = opened(given={"question": "1,2"})
    np.testing.assert_array_equal(network.feeds(X, network.read_inputs({"question": "5,6"}))["question"], [[5, 6]])


def test_an_input_that_is_missing() -> None:
    with pytest.raises(ModelError, match="question"):
        opened().feeds(X, {})


def test_the_plain_model_is_run_for_its_outputs_or_for_tensors_inside() -> None:
    look = opened(given={"question": "1,2"}).look(X, None, {})
    np.testing.assert_allclose(look.outputs["logits"], [[2 * 1 - 1 * 3, 3 * 3]])  # means 1 and 1.5, times 1 and 2
    (means,) = look.tensors(["p"])
    np.testing.assert_allclose(means.ravel(), [1, 1.5])


def test_a_look_takes_other_inputs_of_a_call() -> None:
    network = opened(given={"question": "1,2"})
    other = network.look(X, None, {"question": np.array([[0, 1]])})
    np.testing.assert_allclose(other.outputs["logits"], [[-1.5, 4.5]])


def test_probabilities_of_classes() -> None:
    network = opened(given={"question": "1,2"})
    assert network.probability_outputs is not None
    outputs = network.look(X, None, {}).outputs
    found = network.probabilities(outputs, np.array([1]))
    assert found is not None
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-1 - 9)), rtol=1e-5)


def test_a_target_is_resolved_by_the_names_of_the_classes() -> None:
    network = opened(labels=["no", "yes"], given={"question": "1,2"})
    look = network.look(X, None, {})
    assert network.resolve("yes", look).index == 1
    with pytest.raises(TargetError, match="maybe"):
        network.resolve("maybe", look)


def test_the_parts_of_an_input_that_is_no_picture() -> None:
    assert opened(given={"question": "1,2"}).parts({"picture": X, "question": Q}) is None
    network = opened(wrt="question")
    assert network.parts({"picture": X, "question": Q}) == ["question[0]", "question[1]"]


def test_no_such_input_to_explain() -> None:
    with pytest.raises(ModelError, match="the model has no input 'answer'; there are 'picture'"):
        opened(wrt="answer")
