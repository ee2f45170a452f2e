"""Elements of any tensor."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam.errors import TargetError
from tests.targets.opened import Opened

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
tensors (float[1, 3, 64, 64] x) => (float[1, 2, 3, 4] y, float[5, 4] rows)
<int64[4] shape = {1, 2, 3, 4}, int64[2] table = {5, 4}, float two = {2}>
{
    p = GlobalAveragePool(x)
    inner = Mul(x, two)
    m = ReduceMean<axes = [1], keepdims = 1>(p)
    y = Expand(m, shape)
    q = ReduceMean<axes = [2, 3], keepdims = 0>(m)
    rows = Expand(q, table)
}
"""
X = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
PIXELS = X.size


@pytest.fixture(scope="module")
def opened() -> Opened:
    return Opened(onnx.parser.parse_model(MODEL))


ELEMENTS = {
    "y[0, 1, 2, 3]": np.s_[0, 1, 2, 3],
    "y[0, -1, -1, 0]": np.s_[0, -1, -1, 0],
    "y[0].sum()": np.s_[0],
    "y[:, 1, :, 2].sum()": np.s_[:, 1, :, 2],
    "y[0, 1, ::2].mean()": np.s_[0, 1, ::2],
    "y[0, 1, 2:, 3].mean()": np.s_[0, 1, 2:, 3],
    "inner[0, 2, 1:, :].sum()": np.s_[0, 2, 1:, :],
}


@pytest.mark.parametrize("words", ELEMENTS)
def test_elements(opened: Opened, words: str) -> None:
    goal = opened.goal(words, X)
    (y,) = opened.look(X).tensors([words.split("[")[0]])
    chosen = y[ELEMENTS[words]]
    expected = chosen.mean() if "mean" in words else chosen.sum()
    assert float((goal.feed * y[0]).sum()) == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_array_equal(opened.goal(goal.words, X).feed, goal.feed)
    slope = 2 if words.startswith("inner") else 1 / PIXELS
    total = goal.feed.sum() if slope < 2 else goal.feed
    np.testing.assert_allclose(opened.gradient(goal, X)[0], total * slope * np.ones(X.shape[1:]), rtol=1e-5)


@pytest.mark.parametrize(("words", "count"), [("rows[3, 1]", 1), ("rows[:, 2].sum()", 5), ("rows[1:3].sum()", 8)])
def test_a_tensor_of_rows_has_no_axis_of_pictures(opened: Opened, words: str, count: int) -> None:
    goal = opened.goal(words, X)
    assert goal.feed.shape == (5, 4)
    assert goal.feed.sum() == count
    np.testing.assert_allclose(opened.gradient(goal, X), count / PIXELS, rtol=1e-5)


ERRORS = [
    ("z[0]", r"the model has no output called 'z'; there are y, rows\."),
    ("inne[0]", "Did you mean 'inner'"),
    ("y[0, 2, 0, 0]", r"y\[0, 2, 0, 0\] is out of range: 'y' has the shape \[1, 2, 3, 4\]"),
    ("y[1, 0, 0, 0]", r"y\[1, 0, 0, 0\] is out of range"),
    ("y[0, 1000000000000000000000000]", r"is out of range"),
    ("y[0, 0, 0, 0, 0]", r"'y' has 4 axes, \[1, 2, 3, 4\], not 5"),
    ("y[0, 1, 3:].sum()", r"y\[0, 1, 3:\] holds nothing: 'y' has the shape"),
    (None, r"no output of the model is a vector of class scores: .*as a model y\[0, 0, 0, 0\]"),
    ("top", "name what to explain, as a model"),
    (3, "target '3' does not apply to a model; what does: as a model y"),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[str(words) for words, _ in ERRORS])
def test_errors(opened: Opened, words: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        opened.goal(words, X)
