"""Branches and loops: what is taken at build time, and what bodies may not do."""

import io
import warnings

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import STANDARD, vjp
from onnxcam.graph.io import load
from onnxcam.passes import canonical
from onnxcam.testing import run
from tests.optional import torch

X = np.asarray([[0.5, -1, 2]], np.float32)


def parsed(body: str, more: str = "") -> onnx.ModelProto:
    header = '<ir_version: 8, opset_import: ["": 18]> g (float[1, 3] x'
    return onnx.parser.parse_model(f"{header}{more}) => (float[1, 3] y) {{ {body} }}")


def branch(condition: str, then: str = "u = Relu(x)", otherwise: str = "v = Neg(x)") -> str:
    graphs = (
        f"then_branch = t () => (float[1, 3] u) {{ {then} }}, else_branch = e () => (float[1, 3] v) {{ {otherwise} }}"
    )
    return f"{condition} y = If<{graphs}>(c)"


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("c = Constant<value = bool {1}>()", "Relu"),
        ("s = Shape<start = 1>(x) n = Constant<value = int64[1] {3}>() c = Equal(s, n)", "Relu"),
        ("s = Size(x) n = Constant<value = int64 {4}>() c = Less(n, s)", "Neg"),
    ],
)
def test_a_branch_that_is_known_is_taken(condition: str, taken: str) -> None:
    model = parsed(branch(condition))
    operators = [node.op_type for node in canonical(load(model), STANDARD).graph]
    assert "If" not in operators
    assert operators[-1] == taken
    results = run(vjp(model), {"x": X, "y.cotangent": np.ones_like(X)})
    np.testing.assert_array_equal(results["x.gradient"], X > 0 if taken == "Relu" else -np.ones_like(X))
    np.testing.assert_array_equal(results["y"], np.maximum(X, 0) if taken == "Relu" else -X)


def test_a_branch_that_gives_back_what_lies_outside() -> None:
    model = parsed(branch("c = Constant<value = bool {1}>() r = Relu(x)", then="u = Identity(r)"))
    assert run(vjp(model), {"x": X, "y.cotangent": X})["x.gradient"].tolist() == [[0.5, 0, 2]]


def test_names_that_both_branches_use() -> None:
    again = branch("z = Constant<value = bool {1}>() c = And(z, z)", "m = Relu(x) u = Neg(m)", "m = Exp(x) v = Neg(m)")
    results = run(vjp(parsed(again)), {"x": X, "y.cotangent": np.ones_like(X)})
    np.testing.assert_array_equal(results["x.gradient"], -(X > 0).astype(np.float32))


def test_guided_rules_hold_in_a_branch() -> None:
    model = parsed(branch(""), ", bool c")
    feeds = {"x": X, "c": np.asarray(True), "y.cotangent": np.asarray([[-1, 1, 1]], np.float32)}
    np.testing.assert_array_equal(run(vjp(model), feeds)["x.gradient"], [[-1, 0, 1]])
    np.testing.assert_array_equal(run(vjp(model, rules="guided"), feeds)["x.gradient"], [[0, 0, 1]])


def test_the_gradient_of_an_optional_that_holds_nothing_is_empty() -> None:
    model = parsed(
        "h = OptionalHasElement(o)"
        " y = If<then_branch = t () => (float[1, 3] u) { a = OptionalGetElement(o) u = Mul(a, x) },"
        " else_branch = e () => (float[1, 3] v) { v = Mul(x, x) }>(h)",
        ", optional(float[1, 3]) o",
    )
    results = run(vjp(model), {"x": X, "o": None, "y.cotangent": np.ones_like(X)})
    assert results["o.gradient"].shape == (0,)
    np.testing.assert_array_equal(results["x.gradient"], 2 * X)
    results = run(vjp(model), {"x": X, "o": 3 * X, "y.cotangent": np.ones_like(X)})
    np.testing.assert_array_equal(results["o.gradient"], X)


def test_many_elements_of_a_list_are_added_to_its_gradient_in_place() -> None:
    parts = " ".join(f"i{k} = Constant<value = int64 {{{k}}}>() a{k} = SequenceAt(s, i{k})" for k in range(3))
    gradient = vjp(parsed(f"s = SplitToSequence<axis = 1>(x) {parts} c = Concat<axis = 1>(a2, a1, a0) y = Mul(c, c)"))
    assert [node.op_type for node in gradient.graph.node].count("Loop") == 1  # the zeros that they are added to
    results = run(gradient, {"x": X, "y.cotangent": np.ones_like(X)})
    np.testing.assert_array_equal(results["x.gradient"], 2 * X)


class Loop(torch.nn.Module):
    def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(int(n)):
            y = torch.sin(y @ x) if i % 2 == 0 else y + x.transpose(0, 1)
        return y


class Growing(torch.nn.Module):
    def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(int(n)):
            y = torch.cat([y, torch.sin(y[-1:] * x[i % 3])], 0)
        return y


class List(torch.nn.Module):
    def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        parts = [x[0]]
        for i in range(int(n)):
            parts.append(torch.sin(parts[i] * x[i % 3]) + parts[0])
        return torch.stack(parts)


class Parts(torch.nn.Module):
    def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(x[:, 0])
        for part in torch.split(x, 1, 1):
            total = torch.tanh(total * n + part[:, 0])
        return total


@pytest.mark.parametrize("network", [Loop, Growing, List, Parts])
def test_a_loop_that_pytorch_exports(network: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    x, file = torch.randn(3, 3, requires_grad=True), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.jit.script(network())
        torch.onnx.export(model, (x, torch.tensor(3)), file, dynamo=False, opset_version=17, input_names=["x", "n"])
    y = model(x, torch.tensor(5))
    (expected,) = torch.autograd.grad(y, x, torch.ones_like(y))
    gradient = vjp(onnx.load_from_string(file.getvalue()), inputs=["x"])
    source, count, cotangent = (value.name for value in gradient.graph.input)
    ones = np.ones(y.shape, np.float32)
    results = run(gradient, {source: x.detach().numpy(), count: np.asarray(5), cotangent: ones})
    np.testing.assert_allclose(results["x.gradient"], expected.numpy(), rtol=1e-4, atol=1e-6)
