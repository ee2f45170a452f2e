"""Embeddings: how near an image is to others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam.errors import TargetError
from onnxcam.media import image
from onnxcam.targets.classification import Classes
from onnxcam.targets.embedding import Embedding
from tests.optional import torch
from tests.targets.opened import Opened

RNG = np.random.default_rng(0)
W = RNG.standard_normal((12, 5)).astype(np.float32)


def encoder(last: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    encoder (float[n, 3, 2, 2] x) => (float[n, 5] y)
    <int64[2] flat = {{-1, 12}}, int64[1] one = {{1}}, float least = {{1e-12}}>
    {{ f = Reshape(x, flat) e = MatMul(f, w) {last} }}
    """)
    model.graph.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    return model


UNIT = {
    "divided by its length": "l = ReduceL2<axes = [1]>(e) m = Max(l, least) y = Div(e, m)",
    "LpNormalization": "y = LpNormalization<axis = 1>(e)",
    "by the root of a sum": "q = Mul(e, e) s = ReduceSum(q, one) r = Sqrt(s) y = Div(e, r)",
}


@pytest.mark.parametrize("last", UNIT)
def test_unit_vectors_are_embeddings(last: str) -> None:
    assert isinstance(Opened(encoder(UNIT[last])).network.task, Embedding)


@pytest.mark.parametrize("last", ["y = Identity(e)", "h = Max(e, least) y = Div(e, h)", "y = Softmax(e)"])
def test_other_vectors_are_scores_that_may_be_compared(last: str) -> None:
    opened = Opened(encoder(last), preprocess="unit")
    assert isinstance(opened.network.task, Classes)
    assert isinstance(opened.network.tasks[1], Embedding)


def embedded(picture: np.ndarray) -> torch.Tensor:
    x = torch.from_numpy(picture.astype(np.float64).transpose(2, 0, 1)[None] / 255)
    return x.reshape(1, 12) @ torch.from_numpy(W).double()


@pytest.mark.parametrize("last", ["y = Identity(e)", UNIT["divided by its length"]])
def test_like_and_unlike(last: str, tmp_path: Path) -> None:
    cosine = torch.nn.functional.cosine_similarity
    one, other = RNG.integers(0, 256, (2, 2, 2, 3)).astype(np.uint8)
    image.write(tmp_path / "my one.png", one)
    image.write(tmp_path / "other.png", other)
    opened, x = Opened(encoder(last), preprocess="unit"), RNG.random((1, 3, 2, 2), np.float32)
    for words, signs in (
        (f"like='{tmp_path}/my one.png'", (1, 0)),
        (f"unlike={tmp_path}/other.png", (0, -1)),
        (f"like='{tmp_path}/my one.png' unlike={tmp_path}/other.png", (1, -1)),
    ):
        goal = opened.goal(words, x)
        np.testing.assert_array_equal(opened.goal(goal.words, x).feed, goal.feed)
        at = torch.from_numpy(x).double().requires_grad_()
        y = at.reshape(1, 12) @ torch.from_numpy(W).double()
        (signs[0] * cosine(y, embedded(one)) + signs[1] * cosine(y, embedded(other))).sum().backward()
        assert at.grad is not None
        np.testing.assert_allclose(opened.gradient(goal, x), at.grad, rtol=1e-3, atol=1e-5)


def test_a_text_unlike_itself(tmp_path: Path) -> None:
    image.write(tmp_path / "one.png", RNG.integers(0, 256, (2, 2, 3)).astype(np.uint8))
    same = f"like={tmp_path}/one.png unlike={tmp_path}/one.png"
    with pytest.raises(TargetError, match="like and unlike have the same embedding, so their difference is zero"):
        Opened(encoder("y = Identity(e)"), preprocess="unit").goal(same, RNG.random((1, 3, 2, 2), np.float32))


def test_without_another_picture() -> None:
    opened, x = (
        Opened(encoder(UNIT["LpNormalization"].replace("(e)", "(b)").replace("y =", "b = Add(e, least) y ="))),
        RNG.random((1, 3, 2, 2), np.float32),
    )
    goal = opened.goal(None, x)
    assert "tensor of zeros; like=FILE compares images" in goal.note
    np.testing.assert_allclose(goal.feed, -1 / np.sqrt(5), rtol=1e-4)


def test_a_class_of_an_embedding() -> None:
    with pytest.raises(
        TargetError, match="target '3' does not apply to an embedding; what does: as an embedding like=FILE, "
    ):
        Opened(encoder(UNIT["LpNormalization"])).goal(3, RNG.random((1, 3, 2, 2), np.float32))


def test_the_mean_of_a_grid_is_compared() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    encoder (float[n, 3, 4, 4] x) => (float[n, 5, 4, 4] image_embeddings) { image_embeddings = Conv(x, w) }
    """)
    weights = RNG.standard_normal((5, 3, 1, 1)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    opened, (x, other) = Opened(model), RNG.standard_normal((2, 1, 3, 4, 4)).astype(np.float32)
    assert isinstance(opened.network.task, Embedding)
    look = opened.look(x)
    look.prepare = lambda picture: other
    goal = opened.network.resolve("like=other.png", look)
    e, d = (weights[:, :, 0, 0] @ one[0].mean(axis=(1, 2)) for one in (x, other))
    unit, d = e / np.linalg.norm(e), d / np.linalg.norm(d)
    np.testing.assert_allclose(goal.feed, d, rtol=1e-4)
    slope = weights[:, :, 0, 0].T @ ((d - (d @ unit) * unit) / np.linalg.norm(e)) / 16
    np.testing.assert_allclose(
        opened.gradient(goal, x)[0], np.tile(slope[:, None, None], (1, 4, 4)), rtol=1e-3, atol=1e-6
    )
