"""Groups of classes: log-sum-exp, its gradient, contrasts, probabilities and errors."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import TargetError

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(5, 8)).astype(np.float32)
X = RNG.uniform(0.1, 1, (1, 2, 2, 2)).astype(np.float32)
NAMES = ["tabby cat", "tiger cat", "collie dog", "beagle dog", "car"]
LOGITS = WEIGHTS @ X.ravel()
A, B = [0, 1], [2, 3]


def network(head: str = "Softmax<axis = 1>") -> onnx.ModelProto:
    """Five linear scores of eight pixels, behind *head*."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 2, 2, 2] x) => (float[n, 5] y) {{
        f = Flatten(x)
        z = Gemm<transB = 1>(f, w)
        y = {head}(z)
    }}""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(WEIGHTS, "w"))
    return model


def explainer(head: str = "Softmax<axis = 1>") -> Explainer:
    return Explainer(network(head), method="gradient", labels=NAMES, preprocess=lambda _: X)


PICTURE = np.zeros((2, 2, 3), np.uint8)
CASES = {
    "any:cat": (A, []),
    "any:cat,4": ([0, 1, 4], []),
    "any:2-3": (B, []),
    "any:cat-any:dog": (A, B),
    "any:cat-car": (A, [4]),
    "car-any:2-3": ([4], B),
    "not any:dog": ([], B),
}


@pytest.mark.parametrize("words", CASES)
def test_score_and_gradient_are_those_of_autograd(words: str) -> None:
    torch = pytest.importorskip("torch")
    plus, minus = CASES[words]
    x = torch.tensor(X, requires_grad=True)
    z = torch.tensor(WEIGHTS) @ x.flatten()
    score = sum(sign * z[side].logsumexp(0) for sign, side in ((1, plus), (-1, minus)) if side)
    score.backward()
    found = explainer()(PICTURE, target=words)
    np.testing.assert_allclose(found.score, score.item(), rtol=1e-6)
    np.testing.assert_allclose(found.raw, x.grad[0].numpy(), rtol=1e-5, atol=1e-6)
    again = explainer()(PICTURE, target=found.words)
    assert (again.words, again.score) == (found.words, found.score)


def test_large_scores_do_not_overflow() -> None:
    found = explainer().attribute(np.concatenate([X, 500 * X]), target="any:cat")
    ahead = int(np.argmax(LOGITS[A]))
    np.testing.assert_allclose(found[1].ravel(), WEIGHTS[ahead], rtol=1e-5)


def test_probabilities_of_both_sides() -> None:
    p = np.exp(LOGITS) / np.exp(LOGITS).sum()
    found = explainer()(PICTURE, target="any:cat-any:dog")
    assert found.probability == pytest.approx(p[A].sum(), rel=1e-5)
    assert found.probability_against == pytest.approx(p[B].sum(), rel=1e-5)
    assert found.score == pytest.approx(np.log(p[A].sum() / p[B].sum()), abs=1e-5)
    assert found.note == "any:cat is 2 classes: tabby cat, tiger cat; any:dog is 2 classes: collie dog, beagle dog"
    assert (found.target, found.label, found.slug) == (None, None, "any-cat-any-dog")
    pair = explainer()(PICTURE, target="car-collie dog")
    assert [pair.probability, pair.probability_against] == pytest.approx([p[4], p[2]], rel=1e-5)


def test_classes_that_do_not_exclude_each_other() -> None:
    found = explainer("Sigmoid")(PICTURE, target="any:cat")
    assert found.probability == pytest.approx(1 / (1 + np.exp(-LOGITS[A].max())), rel=1e-5)
    assert "do not exclude each other: the score of several is their soft maximum" in found.note


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("any:horse", "no class has the word 'horse'"),
        ("any:tabbi", "no class has the word 'tabbi'. Did you mean 'tabby cat'"),
        ("any:3-7", "class 5 is out of range: the model has 5 classes, 0 to 4"),
        ("any:cat-tabby cat", "class 'tabby cat' is compared with itself; name groups that share none"),
        ("any:cat-any:dog-any:car", "a contrast has two sides, such as any:cat-any:dog"),
    ],
)
def test_what_is_no_group_is_said(words: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        explainer()(PICTURE, target=words)


def test_words_need_names() -> None:
    with pytest.raises(TargetError, match="target 'cat' is a label, but the model's labels are not known"):
        Explainer(network(), method="gradient", preprocess=lambda _: X, target="any:cat")
