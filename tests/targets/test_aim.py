"""The scalar in the graph: its value and its gradient against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import backward
from onnxcam.autodiff.differentiate import add_output
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import to_proto
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets.aim import Aim, ClassAim, DirectionAim, ScoresAim, WeightsAim
from onnxcam.testing import run
from tests.optional import torch

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 2, 2)).astype(np.float32)
M = RNG.standard_normal((3, 5)).astype(np.float32)


def model(tail: str, y: str, x: str = "float[n, 3, 2, 2] x") -> onnx.ModelProto:
    """Channels mixed by M at every pixel, g [n, 4, 5], then *tail*."""
    m = ", ".join(map(str, M.reshape(-1).tolist()))
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    mixed ({x}) => ({y} y)
    <float[3, 5] m = {{{m}}}, int64[3] tokens = {{0, 3, 4}}, int64[2] flat = {{-1, 20}}, float scale = {{0.05}},
     uint8 zero = {{100}}>
    {{
        t = Reshape(x, tokens)
        s = Transpose<perm = [0, 2, 1]>(t)
        g = MatMul(s, m)
        {tail}
    }}
    """)


def mixed(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(len(x), 3, 4).transpose(1, 2) @ torch.from_numpy(M).double()


def asked(model: onnx.ModelProto, aim: Aim, feed: Array, x: Array = X) -> tuple[Array, Array]:
    """Return score [N] and input gradient."""
    subject = PreparedModel.open(model)
    graph = subject.model.graph
    assert isinstance(aim.locate(graph), ir.Value)
    op = Emitter(graph)
    aimed = aim.emit(op, subject.batch)
    assert aimed.value is aim.locate(graph)
    (gradient,) = backward(op, {aimed.value: aimed.seed}, [subject.image], STANDARD)
    assert gradient is not None
    graph.outputs.clear()
    add_output(op, aimed.score, "score")
    add_output(op, gradient, "gradient")
    op.place(graph.outputs)
    found = run(to_proto(subject.model), {"x": x, aim.input: feed})
    return found["score"], found["gradient"]


def agree(found: tuple[Array, Array], scalar: Callable[[torch.Tensor], torch.Tensor], x: Array = X) -> None:
    """Hold *found* against *scalar*, from x to one value an image."""
    at = torch.from_numpy(x).double().requires_grad_()
    scores = scalar(at)
    scores.sum().backward()
    assert at.grad is not None
    assert at.grad.abs().max() > 0
    np.testing.assert_allclose(found[0], scores.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], at.grad, rtol=1e-4, atol=1e-5)


HEADS = {
    "plain": "y = Reshape(g, flat)",
    "softmax": "f = Reshape(g, flat) y = Softmax<axis = 1>(f)",
    "log softmax": "f = Reshape(g, flat) y = LogSoftmax<axis = 1>(f)",
    "sigmoid": "f = Reshape(g, flat) y = Sigmoid(f)",
}


@pytest.mark.parametrize("head", HEADS)
def test_one_class(head: str) -> None:
    found = asked(model(HEADS[head], "float[n, 20]"), ClassAim(), np.array([3, 17]))
    agree(found, lambda x: mixed(x).reshape(2, 20)[torch.arange(2), torch.tensor([3, 17])])


@pytest.mark.parametrize("head", HEADS)
def test_the_models_own_class(head: str) -> None:
    found = asked(model(HEADS[head], "float[n, 20]"), ClassAim(), np.array([-1, -1]))
    agree(found, lambda x: mixed(x).reshape(2, 20).max(dim=1).values)


@pytest.mark.parametrize("head", HEADS)
def test_weighted_classes(head: str) -> None:
    w = RNG.standard_normal((2, 20)).astype(np.float32)
    found = asked(model(HEADS[head], "float[n, 20]"), ScoresAim(), w)
    agree(found, lambda x: (mixed(x).reshape(2, 20) * torch.from_numpy(w)).sum(1))


TENSORS = {  # what comes behind g [n, 4, 5], and which of its axes are those of y
    "plain": ("y = Identity(g)", [0, 1, 2]),
    "softmax": ("y = Softmax<axis = 2>(g)", [0, 1, 2]),
    "softmax, transposed": ("p = Softmax<axis = 2>(g) y = Transpose<perm = [0, 2, 1]>(p)", [0, 2, 1]),
    "sigmoid, time first": ("p = Sigmoid(g) y = Transpose<perm = [1, 0, 2]>(p)", [1, 0, 2]),
    "log softmax, turned twice": (
        "p = LogSoftmax<axis = 2>(g) a = Transpose<perm = [1, 2, 0]>(p) y = Transpose<perm = [1, 0, 2]>(a)",
        [2, 1, 0],
    ),
    "turned all round": ("p = Sigmoid(g) a = Transpose<perm = [1, 2, 0]>(p) y = Transpose(a)", [0, 2, 1]),
}


def shape_of(order: Sequence[int]) -> str:
    return "float[" + ", ".join(("n", "4", "5")[axis] for axis in order) + "]"


@pytest.mark.parametrize("tail", TENSORS)
def test_weights_over_a_tensor(tail: str) -> None:
    body, order = TENSORS[tail]
    batch = order.index(0)
    rest = [(2, 4, 5)[axis] for axis in order if axis != 0]
    w = RNG.standard_normal((2, *rest)).astype(np.float32)
    found = asked(model(body, shape_of(order)), WeightsAim("y", batch), w)
    agree(found, lambda x: (mixed(x).permute(order).movedim(batch, 0) * torch.from_numpy(w)).sum((1, 2)))


def test_a_tensor_without_an_axis_of_pictures() -> None:
    w = RNG.standard_normal((1, 5, 4)).astype(np.float32)
    body = "f = Reshape(g, flat) y = Reshape(f, rows)"
    made = model(body, "float[5, 4]", "float[1, 3, 2, 2] x")
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([5, 4]), "rows"))
    agree(
        asked(made, WeightsAim("y", None), w, X[:1]),
        lambda x: (mixed(x).reshape(1, 5, 4) * torch.from_numpy(w)).sum((1, 2)),
        X[:1],
    )


def test_what_is_behind_a_sum_is_taken_as_it_is() -> None:
    w = RNG.standard_normal((2, 4, 5)).astype(np.float32)
    found = asked(model("p = Sigmoid(g) y = Add(p, p)", "float[n, 4, 5]"), WeightsAim("y"), w)
    agree(found, lambda x: (2 * mixed(x).sigmoid() * torch.from_numpy(w)).sum((1, 2)))


def test_integers_mean_real_numbers() -> None:
    """y = round(g / 0.05) + 100; nothing is cut off, and rounding is passed straight through."""
    w = RNG.standard_normal((2, 4, 5)).astype(np.float32)
    score, gradient = asked(model("y = QuantizeLinear(g, scale, zero)", "uint8[n, 4, 5]"), WeightsAim("y"), w)
    at = torch.from_numpy(X).double().requires_grad_()
    (mixed(at) * torch.from_numpy(w)).sum().backward()
    np.testing.assert_allclose(gradient, at.grad, rtol=1e-4, atol=1e-5)
    exact = (mixed(at) * torch.from_numpy(w)).sum((1, 2)).detach()
    np.testing.assert_allclose(score, exact, atol=0.025 * np.abs(w).sum((1, 2)).max())


def test_the_direction_of_an_embedding() -> None:
    d = RNG.standard_normal((2, 20)).astype(np.float32)
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    found = asked(model("y = Reshape(g, flat)", "float[n, 20]"), DirectionAim("y"), d)
    agree(found, lambda x: torch.nn.functional.cosine_similarity(mixed(x).reshape(2, 20), torch.from_numpy(d).double()))


def test_the_margin_of_a_triplet() -> None:
    one, other = (v / np.linalg.norm(v) for v in RNG.standard_normal((2, 20)).astype(np.float32))
    d = np.stack([one - other] * 2)
    cosine = torch.nn.functional.cosine_similarity
    found = asked(model("y = Reshape(g, flat)", "float[n, 20]"), DirectionAim("y"), d)
    agree(
        found,
        lambda x: (
            cosine(mixed(x).reshape(2, 20), torch.from_numpy(one).double()[None])
            - cosine(mixed(x).reshape(2, 20), torch.from_numpy(other).double()[None])
        ),
    )
