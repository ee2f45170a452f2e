"""Which output holds the scores, what stands before softmax, and how a class is named."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import TargetError
from onnxcam.graph.io import load
from onnxcam.targets import TOP, find_scores, parse
from onnxcam.targets.classification import Classes
from onnxcam.targets.scores import probabilities
from tests.networks import HAND_X, hand_model


def ending(tail: str, output: str, dtype: str = "float") -> onnx.ModelProto:
    """The model computed by hand with a *tail* from ``logits`` to ``y``."""
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    hand (float[n, 1, 2, 2] x) => ({dtype}{output} y)
    <float[2, 1, 1, 1] w = {{1, -1}}, float[2, 2] v = {{2, -1, 0, 3}}, int64[2] flat = {{-1, 2}},
     int64[4] wide = {{-1, 2, 1, 1}}>
    {{
        c = Conv(x, w)
        a = Relu(c)
        p = GlobalAveragePool(a)
        f = Flatten(p)
        logits = Gemm<transB = 1>(f, v)
        {tail}
    }}
    """)


TAILS = {
    "softmax": ("y = Softmax<axis = 1>(logits)", "softmax"),
    "log softmax": ("y = LogSoftmax<axis = 1>(logits)", "logsoftmax"),
    "sigmoid": ("y = Sigmoid(logits)", "sigmoid"),
    "softmax, reshaped and copied": ("s = Softmax<axis = 1>(logits) r = Reshape(s, flat) y = Identity(r)", "softmax"),
    "nothing": ("y = Identity(logits)", None),
}


@pytest.mark.parametrize("tail", TAILS)
def test_the_score_is_the_one_before_the_head(tail: str) -> None:
    body, head = TAILS[tail]
    model = ending(body, "[n, 2]")
    found = find_scores(load(model).graph)
    assert found.head == head
    assert found.classes == 2
    raw = Explainer(model).attribute(HAND_X, target=0)
    np.testing.assert_allclose(raw, Explainer(hand_model()).attribute(HAND_X, target=0))


@pytest.mark.parametrize("tail", TAILS)
def test_score_and_probability(tail: str) -> None:
    explanation = Explainer(ending(TAILS[tail][0], "[n, 2]"), preprocess=lambda image: HAND_X)(
        np.zeros((2, 2, 3), np.uint8), target=0
    )
    assert explanation.score == pytest.approx(0.5)
    expected = 1 / (1 + np.exp(-0.5)) if tail == "sigmoid" else 1 / (1 + np.exp(4))
    assert explanation.probability == pytest.approx(expected, rel=1e-5)
    assert list(explanation.outputs) == ["y"]


def test_scores_with_axes_of_length_one() -> None:
    model = ending("r = Reshape(logits, wide) y = Softmax<axis = 1>(r)", "[n, 2, 1, 1]")
    np.testing.assert_allclose(Explainer(model, method="cam").attribute(HAND_X, target=0), [[[2, -2], [6, -4]]])
    np.testing.assert_allclose(
        Explainer(model).attribute(HAND_X, target=0), Explainer(hand_model()).attribute(HAND_X, target=0)
    )


def test_a_fixed_batch_of_one_takes_many() -> None:
    model = hand_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    x = np.concatenate([HAND_X, 2 * HAND_X, -HAND_X])
    np.testing.assert_allclose(
        Explainer(model).attribute(x, target=[0, 1, 1]), Explainer(hand_model()).attribute(x, target=[0, 1, 1])
    )


def test_a_fixed_batch_of_two_is_filled() -> None:
    model = hand_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    x = np.concatenate([HAND_X, 2 * HAND_X, -HAND_X])
    np.testing.assert_allclose(Explainer(model).attribute(x, target=1), Explainer(hand_model()).attribute(x, target=1))


def resolve(target: object, labels: list[str] | None) -> int:
    task = Classes(find_scores(load(hand_model()).graph), labels)
    found = task.goal(parse(target, labels)).feed  # type: ignore[arg-type]
    return int(found if found.ndim == 0 else np.argmin(found))


def test_targets_as_data() -> None:
    names = ["tabby, tabby cat", "sports car"]
    assert resolve(None, names) == TOP
    assert resolve("top", names) == TOP
    assert resolve(1, None) == resolve("1", None) == resolve("Sports Car", names) == 1
    assert resolve("tabby cat", names) == 0


@pytest.mark.parametrize(
    "labels", [["90", "0"], ["1", "0"], ["top", "bottom"], ["cat", "cat"], ["", " "], ["cat", "dog"]]
)
def test_the_words_of_a_class_mean_it_again(labels: list[str]) -> None:
    task = Classes(find_scores(load(hand_model()).graph), labels)
    for index in range(2):
        assert resolve(task.words(index), labels) == index
        assert resolve(f"not {task.words(index)}", labels) is not None


def test_names_that_are_numbers() -> None:
    assert resolve("90", ["0", "90"]) == 1
    assert resolve("1", ["1", "0"]) == 0
    assert resolve("#1", ["1", "0"]) == 1
    assert resolve(1, ["1", "0"]) == 1
    found = Explainer(hand_model(), preprocess=lambda image: HAND_X, labels=["1", "0"])(np.zeros((2, 2, 3), np.uint8))
    assert found.words == found.label


@pytest.mark.parametrize(
    ("target", "labels", "message"),
    [
        (2, None, r"class 2 is out of range: the model has 2 classes, 0 to 1"),
        (-1, None, r"class -1 is out of range"),
        ("-3", None, r"class -3 is out of range"),
        ("cat", None, r"its labels are not known|labels are not known"),
        ("sport car", ["cat", "sports car"], "sports car"),
    ],
)
def test_targets_that_are_none(target: object, labels: list[str] | None, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        resolve(target, labels)


def test_as_many_targets_as_pictures() -> None:
    with pytest.raises(TargetError, match="2 targets for 1 images"):
        Explainer(hand_model()).attribute(HAND_X, target=[0, 1])


def test_a_network_without_class_scores() -> None:
    model = ending("y = Reshape(a, deep)", "[n, 2, 1, 2, 2]").SerializeToString()
    model = onnx.load_from_string(model)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 2, 1, 2, 2]), "deep"))
    with pytest.raises(
        TargetError, match=r"no output of the model is a vector of class scores: 'y' \[n,2,1,2,2\]; nor"
    ):
        Explainer(model).attribute(HAND_X)


def test_probabilities_of_scores_beyond_what_exp_holds() -> None:
    scores = find_scores(load(ending(TAILS["nothing"][0], "[n, 2]")).graph)
    found = probabilities(scores, np.float32([-2000, 2000]), multi_label=True)
    assert found is not None
    assert found.tolist() == [0, 1]
